/** A mirror with images pulled through it, and commands that ask it, by HTTP or in their own process. */
import assert from "node:assert/strict";
import { createMirror } from "../../src/app.ts";
import { run } from "../../src/cli/run.ts";
import type { World } from "../../src/cli/world.ts";
import { get } from "../kit/http.ts";
import type { TestImage, TestIndex } from "../kit/image.ts";
import type { TestMirror } from "../kit/mirror.ts";

/** Pulls as a client would: the tag, then everything below; and waits until all is stored. @param registry as containerd names it. */
export async function pull(
  mirror: TestMirror,
  repository: string,
  image: TestImage | TestIndex,
  tag?: string,
  registry?: string,
): Promise<void> {
  await fetchAll(mirror, repository, image, tag, registry);
  await settled(mirror);
}

async function fetchAll(
  mirror: TestMirror,
  repository: string,
  image: TestImage | TestIndex,
  tag: string | undefined,
  registry: string | undefined,
): Promise<void> {
  const query = registry === undefined ? "" : `?ns=${registry}`;
  const fetch = async (kind: string, reference: string) => {
    const answer = await get(`${mirror.url}/v2/${repository}/${kind}/${reference}${query}`);
    assert.equal(answer.status, 200, `${repository} ${reference}: ${answer.body.toString().slice(0, 300)}`);
  };
  await fetch("manifests", tag ?? image.digest);
  if ("images" in image)
    for (const child of image.images) await fetchAll(mirror, repository, child, undefined, registry);
  else for (const { digest } of [image.config, ...image.layers]) await fetch("blobs", digest);
}

/** Clients have their last byte before a blob has its row. */
export async function settled(mirror: TestMirror): Promise<void> {
  await mirror.settled();
  const all = async () => {
    const { cache } = await ask<{ cache: { blobs: number } }>(mirror, "/api/v1/status");
    return cache.blobs === (await mirror.stored()).length;
  };
  await mirror.until(all, "not everything that is stored has its row");
}

export async function ask<T = Record<string, never>>(mirror: Pick<TestMirror, "adminUrl">, path: string): Promise<T> {
  const answer = await get(`${mirror.adminUrl}${path}`);
  const body = JSON.parse(answer.body.toString());
  assert.equal(answer.status, 200, JSON.stringify(body));
  return body;
}

export interface Said {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs `wharfinger <args> --cache-dir DIR`. @param more of the world. */
export async function command(dir: string, args: readonly string[], more: Partial<World> = {}): Promise<Said> {
  const seen = { stdout: "", stderr: "" };
  const world: World = {
    env: {},
    stdout: { write: (text) => (seen.stdout += text) },
    stderr: { write: (text) => (seen.stderr += text) },
    version: "1.2.3",
    hostName: "box",
    loadMirror: async () => (config, options) => createMirror(config, options),
    onSignal: () => () => {},
    exit: () => {},
    ...more,
  };
  const settings = ["--cache-dir", dir, "--admin-listen", "127.0.0.1:0", "--cache-min-free", "0"];
  const code = await run([...args, ...settings], world);
  return { code, ...seen };
}
