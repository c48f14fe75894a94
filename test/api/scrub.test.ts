/** Scrubs by the admin API: what is taken, what is told, and what becomes of one whose asker leaves. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { get, open } from "../kit/http.ts";
import { makeImage } from "../kit/image.ts";
import { TestMirror } from "../kit/mirror.ts";
import { TestUpstream } from "../kit/upstream.ts";

interface Scene extends AsyncDisposable {
  readonly mirror: TestMirror;
  ask(input: object): Promise<{ status: number; events: { event: string; [key: string]: unknown }[] }>;
  state(): Promise<{ running: { blobs: number } | null; unfinished: boolean; lastEndedAt: string; nextAt: string }>;
}

async function scene(): Promise<Scene> {
  const upstream = await TestUpstream.start();
  upstream.shelves.add("library/demo", makeImage({ layers: [200_000, 200_001], seed: 1 }), "1");
  const mirror = await TestMirror.start({ upstreams: { "docker.io": upstream } });
  const url = `${mirror.url}/v2/demo`;
  const manifest = await get(`${url}/manifests/1`);
  for (const { digest } of JSON.parse(manifest.body.toString()).layers) await get(`${url}/blobs/${digest}`);
  await mirror.settled();
  const path = `${mirror.adminUrl}/api/v1/scrub`;
  return {
    mirror,
    async ask(input) {
      const answer = await get(path, {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify(input),
      });
      const lines = answer.body.toString().split("\n");
      return {
        status: answer.status,
        events: lines.filter((line) => line !== "").map((line) => JSON.parse(line)),
      };
    },
    state: async () => JSON.parse((await get(path)).body.toString()),
    async [Symbol.asyncDispose]() {
      await mirror[Symbol.asyncDispose]();
      await upstream.close();
    },
  };
}

test("how it stands is told: when one begins by itself, when the last one ended", async () => {
  await using at = await scene();
  const before = await at.state();
  assert.deepEqual([before.running, before.unfinished, before.lastEndedAt], [null, false, null]);
  assert.equal(new Date(before.nextAt).getHours(), 3);
  assert.equal(new Date(before.nextAt).getDay(), 0);
  const { status, events } = await at.ask({ bandwidth: null, rebuild: true });
  assert.equal(status, 200);
  const result = events.at(-1)?.["result"] as { blobs: number; endedAt: string; index: { files: number } };
  assert.equal(new Date(result.endedAt).toISOString(), result.endedAt);
  assert.deepEqual([result.blobs, result.index.files], [3, 3]);
  assert.ok(Date.now() - Date.parse((await at.state()).lastEndedAt) < 60_000);
});

test("what it does not know, or cannot be, is refused before anything is read", async () => {
  await using at = await scene();
  for (const input of [
    { speed: 1 },
    { bandwidth: 10 },
    { bandwidth: "32MiB" },
    { references: [] },
    { references: ["UPPER/case"] },
    { rebuild: "yes" },
  ]) {
    assert.equal((await at.ask(input)).status, 400, JSON.stringify(input));
  }
  assert.equal((await at.ask({ references: ["demo:absent"] })).status, 404);
  assert.equal((await at.state()).running, null);
});

test("one whose asker leaves ends, and the next goes on where it was", async () => {
  await using at = await scene();
  const asked = await open(`${at.mirror.adminUrl}/api/v1/scrub`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ bandwidth: 65_536 }),
  });
  await at.mirror.until(async () => (await at.state()).running !== null, "it does not begin");
  asked.destroy();
  await at.mirror.until(async () => (await at.state()).running === null, "it does not end");
  assert.equal((await at.state()).unfinished, true);
  const { events } = await at.ask({ bandwidth: null });
  const result = events.at(-1)?.["result"] as { resumed: boolean } | undefined;
  assert.equal(result?.resumed, true);
});
