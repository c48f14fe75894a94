/** Archives of others that there is no room for: told before anything leaves for them, and never as if they were broken. */
import assert from "node:assert/strict";
import { mkdir, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { test } from "node:test";
import { createMirror } from "../../src/app.ts";
import { blobPath } from "../../src/bundle/layout.ts";
import { run } from "../../src/cli/run.ts";
import { tarOf } from "../bundle/luggage.ts";
import { get } from "../kit/http.ts";
import { makeImage, type TestImage } from "../kit/image.ts";
import { TestMirror } from "../kit/mirror.ts";
import { filesUnder } from "../kit/residue.ts";
import { makeTempDir } from "../kit/temp.ts";
import { TestUpstream } from "../kit/upstream.ts";

const MIB = 1024 * 1024;
const kept = makeImage({ seed: 1, layers: [2 * MIB] });
const large = makeImage({ seed: 2, layers: [2.5 * MIB, 2.4 * MIB, 2.3 * MIB, 2.2 * MIB, 2.1 * MIB] });
const fitting = makeImage({ seed: 3, layers: [2.5 * MIB, 2.4 * MIB, 2.3 * MIB] });

/** As skopeo lays it out, its blobs before anything that says how much there is. */
function layout({ blobs, digest, manifest, mediaType }: TestImage): { name: string; bytes: Buffer }[] {
  const annotations = { "org.opencontainers.image.ref.name": "docker.io/library/new:1" };
  const index = { schemaVersion: 2, manifests: [{ mediaType, digest, size: manifest.length, annotations }] };
  return [
    ...[...blobs, [digest, manifest] as const].map(([of, bytes]) => ({ name: blobPath(of), bytes })),
    { name: "index.json", bytes: Buffer.from(JSON.stringify(index)) },
    { name: "oci-layout", bytes: Buffer.from('{"imageLayoutVersion":"1.0.0"}') },
  ];
}

async function wharfinger(...args: string[]): Promise<{ code: number; stderr: string }> {
  let stderr = "";
  const code = await run(args, {
    env: {},
    stdout: { write: () => {} },
    stderr: { write: (text) => (stderr += text) },
    version: "1.2.3",
    hostName: "box",
    loadMirror: async () => (config, options) => createMirror(config, { version: "1.2.3", ...options }),
    onSignal: () => () => {},
    exit: () => {},
  });
  return { code, stderr };
}

/** A store of 8 MiB with an image of 2 MiB in it. */
async function filled(dir: string): Promise<{ config: string; cache: string }> {
  await using upstream = await TestUpstream.start();
  upstream.shelves.add("library/kept", kept, "1");
  const config = join(dir, "config.json");
  const cache = join(dir, "cache");
  const upstreams = { "docker.io": { url: upstream.url, allowPrivate: true } };
  const told = { admin: { listen: "127.0.0.1:0" }, cache: { dir: cache, minFree: 0, maxSize: "8MiB" }, upstreams };
  await writeFile(config, JSON.stringify(told));
  assert.equal((await wharfinger("warm", "kept:1", "--config", config, "--quiet")).code, 0);
  return { config, cache };
}

test("one that is larger than all there may be is refused before anything leaves: as a file, and as a directory", async () => {
  await using dir = await makeTempDir("room");
  const { config, cache } = await filled(dir.path);
  const before = await filesUnder(join(cache, "v1", "blobs"));
  const archive = join(dir.path, "large.tar");
  await writeFile(archive, tarOf(layout(large)));
  const directory = join(dir.path, "layout");
  for (const { name, bytes } of layout(large)) {
    await mkdir(dirname(join(directory, name)), { recursive: true });
    await writeFile(join(directory, name), bytes);
  }
  for (const source of [archive, directory]) {
    const { code, stderr } = await wharfinger("import", source, "--config", config);
    assert.equal(code, 1);
    assert.match(
      stderr,
      /no room for the archive: it brings about 12\d{6} bytes, 3\d{6} more than may be stored in all/,
    );
    assert.deepEqual(await filesUnder(join(cache, "v1", "blobs")), before);
  }
});

test("one whose size nobody knows ahead is refused by what its files announce, and none of its own pieces left for it", async () => {
  await using mirror = await TestMirror.start({
    upstreams: { "docker.io": "http://127.0.0.1:9" },
    config: { cache: { maxSize: 8 * MIB } },
  });
  const post = { method: "POST", body: tarOf(layout(large)), headers: { "Content-Type": "application/x-tar" } };
  const { body } = await get(`${mirror.adminUrl}/api/v1/import`, post);
  assert.match(body.toString(), /"kind":"storage".*at least 9\d{6} bytes, 1\d{6} more than may be stored in all/);
});

test("where what is pinned leaves too little, its own pieces do not make room for one another", async () => {
  await using dir = await makeTempDir("room");
  const { config, cache } = await filled(dir.path);
  assert.equal((await wharfinger("pin", "kept:1", "--config", config)).code, 0);
  const archive = join(dir.path, "fitting.tar");
  await writeFile(archive, tarOf(layout(fitting)));
  const { code, stderr } = await wharfinger("import", archive, "--config", config);
  assert.equal(code, 1);
  assert.match(stderr, /there is no room for blobs\/sha256\/[0-9a-f]+: 24\d{5} bytes, \d+ more than there is room for/);
  // Nothing of it is held when it is over.
  assert.equal((await wharfinger("unpin", "kept:1", "--config", config)).code, 0);
  assert.equal((await wharfinger("import", archive, "--config", config)).code, 0);
  assert.ok((await filesUnder(join(cache, "v1", "blobs"))).length >= 5);
});
