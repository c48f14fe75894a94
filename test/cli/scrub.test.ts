/** `wharfinger scrub`: with a mirror that runs and without one, and what its exit code says. */
import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { readdir, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { createMirror } from "../../src/app.ts";
import { run } from "../../src/cli/run.ts";
import { damageText, indexText, reportText } from "../../src/cli/scrub-text.ts";
import type { StopSignal, World } from "../../src/cli/world.ts";
import { digestOf, hexOf } from "../../src/oci/digest.ts";
import { seededBytes } from "../kit/content.ts";
import { get } from "../kit/http.ts";
import { makeImage } from "../kit/image.ts";
import { TestMirror } from "../kit/mirror.ts";
import { openResources, residueSince } from "../kit/residue.ts";
import { makeTempDir } from "../kit/temp.ts";
import { TestUpstream } from "../kit/upstream.ts";
import { flip } from "../upkeep/scrub-scene.ts";

function stageOf() {
  const seen = { stdout: "", stderr: "" };
  let interrupt: (signal: StopSignal) => void = () => {};
  const world: World = {
    env: {},
    stdout: { write: (text) => (seen.stdout += text) },
    stderr: { write: (text) => (seen.stderr += text) },
    version: "1.2.3",
    hostName: "box",
    loadMirror: async () => (config, options) => createMirror(config, { version: "1.2.3", ...options }),
    onSignal: (listener) => {
      interrupt = listener;
      return () => {};
    },
    exit: () => {},
  };
  return { world, seen, interrupt: () => interrupt("SIGINT") };
}

interface Scene extends AsyncDisposable {
  readonly config: string;
  readonly cache: string;
  readonly layer: string;
  readonly upstream: TestUpstream;
}

/** A store with an image in it, and no mirror that runs. */
async function scene(admin = "127.0.0.1:0"): Promise<Scene> {
  const dir = await makeTempDir("scrub");
  const upstream = await TestUpstream.start();
  const image = makeImage({ layers: [300_000], seed: 1 });
  upstream.shelves.add("library/demo", image, "1");
  const cache = join(dir.path, "cache");
  const config = join(dir.path, "wharfinger.json");
  const upstreams = { "docker.io": { url: upstream.url, allowPrivate: true } };
  const settings = { listen: "127.0.0.1:0", admin: { listen: admin }, cache: { dir: cache, minFree: 0 }, upstreams };
  await writeFile(config, JSON.stringify(settings));
  const warm = stageOf();
  assert.equal(await run(["warm", "demo:1", "--quiet", "--config", config], warm.world), 0, warm.seen.stderr);
  const digest = image.layers[0]?.digest ?? "";
  const layer = join(cache, "v1", "blobs", "sha256", digest.slice(7, 9), digest.slice(7));
  return {
    ...{ config, cache, layer, upstream },
    async [Symbol.asyncDispose]() {
      await upstream.close();
      await dir[Symbol.asyncDispose]();
    },
  };
}

test("where nothing is damaged it says so and ends with 0, and leaves nothing behind", async () => {
  const baseline = openResources();
  {
    await using at = await scene();
    const { world, seen } = stageOf();
    assert.equal(await run(["scrub", "--bandwidth", "none", "--config", at.config], world), 0, seen.stderr);
    assert.match(seen.stdout, /^3 blobs, 29\d(\.\d)? KiB read in \d+ m?s: nothing is damaged\n$/);
  }
  assert.deepEqual(await residueSince(baseline), []);
});

test("what is damaged is named, moved to quarantine, and the exit code is 1; the next run ends with 0", async () => {
  await using at = await scene();
  await flip(at.layer);
  const { world, seen } = stageOf();
  assert.equal(await run(["scrub", "--config", at.config], world), 1);
  assert.match(seen.stderr, /sha256:[a-f0-9]{64}: DAMAGED: does not match its digest; moved to .*quarantine/);
  assert.match(seen.stdout, /1 blob damaged\n {2}293 KiB are fetched again when somebody asks for them\n/);
  assert.equal((await readdir(join(at.cache, "v1", "quarantine"))).length, 1);
  const again = stageOf();
  assert.equal(await run(["scrub", "--json", "--config", at.config], again.world), 0, again.seen.stderr);
  const { damaged, blobs } = JSON.parse(again.seen.stdout);
  assert.deepEqual([damaged, blobs], [0, 2]);
});

test("quiet, it tells of damage and of nothing else", async () => {
  await using at = await scene();
  const well = stageOf();
  assert.equal(await run(["scrub", "--quiet", "--config", at.config], well.world), 0);
  assert.deepEqual(well.seen, { stdout: "", stderr: "" });
  await flip(at.layer);
  const bad = stageOf();
  assert.equal(await run(["scrub", "--quiet", "--config", at.config], bad.world), 1);
  assert.match(bad.seen.stdout, /DAMAGED/);
});

test("with --rebuild an index that is gone is made of the files", async () => {
  await using at = await scene();
  for (const name of await readdir(join(at.cache, "v1"))) {
    if (name.startsWith("index.sqlite")) await rm(join(at.cache, "v1", name));
  }
  const { world, seen } = stageOf();
  assert.equal(await run(["scrub", "--rebuild", "--config", at.config], world), 0, seen.stderr);
  assert.match(seen.stdout, /^index of 3 files: 3 files that it did not know, 1 manifest read\n3 blobs, /);
});

test("a mirror that runs is asked; while one runs there, a second is refused, or joins", async () => {
  await using upstream = await TestUpstream.start();
  const layers = Array.from({ length: 6 }, (_, seed) => seededBytes(100_000, seed + 1));
  for (const layer of layers) upstream.shelves.addBlob("library/demo", layer);
  await using mirror = await TestMirror.start({ upstreams: { "docker.io": upstream }, config: { workers: 1 } });
  for (const layer of layers) await get(`${mirror.url}/v2/demo/blobs/${digestOf(layer)}`);
  await mirror.settled();
  const config = join(mirror.dir, "wharfinger.json");
  const admin = mirror.adminUrl.slice("http://".length);
  await writeFile(config, JSON.stringify({ admin: { listen: admin }, cache: { dir: mirror.dir, minFree: 0 } }));
  const first = stageOf();
  const running = run(["scrub", "--bandwidth", "64KiB", "--config", config], first.world);
  const state = async () => JSON.parse((await get(`${mirror.adminUrl}/api/v1/scrub`)).body.toString());
  await mirror.until(async () => (await state()).running !== null, "no scrub runs");
  const second = stageOf();
  assert.equal(await run(["scrub", "--config", config], second.world), 1);
  assert.match(second.seen.stderr, /a scrub is already running, \d+ of 6 blobs are read/);
  assert.match(second.seen.stderr, /--join/);
  const third = stageOf();
  const joined = run(["scrub", "--join", "--json", "--config", config], third.world);
  await mirror.until(async () => (await state()).running?.blobs > 0, "it does not go on");
  first.interrupt();
  assert.equal(await running, 130);
  assert.match(first.seen.stderr, /the next one goes on where it was/);
  assert.equal(await joined, 4, "what was joined has ended, and nothing was found");
  assert.match(third.seen.stderr, /who began the scrub has stopped it: no damage was found until then/);
  assert.equal((await state()).unfinished, true);
  const last = stageOf();
  assert.equal(await run(["scrub", "--bandwidth", "none", "--json", "--config", config], last.world), 0);
  const { resumed, blobs } = JSON.parse(last.seen.stdout);
  assert.deepEqual([resumed, blobs], [true, 6]);
});

test("images by name are read alone, and what is not stored is said to be", async () => {
  await using at = await scene();
  const well = stageOf();
  assert.equal(await run(["scrub", "demo:1", "--json", "--config", at.config], well.world), 0, well.seen.stderr);
  assert.equal(JSON.parse(well.seen.stdout).blobs, 3);
  await flip(at.layer);
  const bad = stageOf();
  assert.equal(await run(["scrub", "docker.io/library/demo:1", "--config", at.config], bad.world), 1);
  assert.match(bad.seen.stdout, /1 blob damaged/);
  const none = stageOf();
  assert.equal(await run(["scrub", "demo:2", "--config", at.config], none.world), 3);
  assert.match(none.seen.stderr, /docker\.io\/library\/demo:2 is not stored/);
});

test("a bandwidth that is none is bad usage", async () => {
  for (const text of ["fast", "1KiB", "0", "-1"]) {
    const { world, seen } = stageOf();
    assert.equal(await run(["scrub", `--bandwidth=${text}`], world), 2);
    assert.match(seen.stderr, /--bandwidth: expected a size of 64KiB or more/);
  }
});

test("its help has examples and exit codes", async () => {
  const { world, seen } = stageOf();
  assert.equal(await run(["scrub", "--help"], world), 0);
  for (const words of [/--rebuild/, /--bandwidth/, /Examples:/, /Exit codes: 0 nothing is damaged, 1 damage/]) {
    assert.match(seen.stdout, words);
  }
});

test("everything that is not as it was has a line", () => {
  const digest = digestOf(Buffer.from("x"));
  const fact = { digest, sizeBytes: 1024, damage: "digest", reason: "is bad", pinned: true, where: undefined } as const;
  const damage = [{ ...fact, identity: undefined, foundBy: "scrub" as const }];
  const report = {
    ...{ blobs: 12_345, bytes: 5 * 2 ** 30, damaged: 2, damagedBytes: 2048, missing: 1, adopted: 3, adoptedBytes: 7 },
    ...{
      strays: 2,
      unchecked: 1,
      startedAt: "2026-01-01T00:00:00.000Z",
      endedAt: "2026-01-01T00:01:00.000Z",
      resumed: true,
      damage,
    },
  };
  assert.deepEqual(reportText(report).split("\n"), [
    "12 345 blobs, 5 GiB read in 60 s since it was first begun: 2 blobs damaged",
    "  2 KiB are fetched again when somebody asks for them",
    `  sha256:${hexOf(digest)}: DAMAGED: is bad, and is pinned; it could not be moved, and is not served any more`,
    "  and 1 more, which the log names",
    "  1 row of the index without a file: dropped",
    "  3 files that the index did not know, 7 bytes: it does now",
    "  2 things among the blobs that are none: left as they are",
    "  1 blob could not be looked at; the log says why",
    "",
  ]);
  assert.match(damageText({ ...fact, pinned: false, where: "removed" }), /is bad; removed$/);
  const index = { files: 1, added: 0, addedBytes: 0, linked: 0, dropped: 0, damaged: 0, unreadable: 0, durationMs: 1 };
  assert.equal(indexText(index), "index of 1 file: it was as it should be\n");
});

test("where there is no cache none is made, and nothing is said to be well", async () => {
  await using dir = await makeTempDir("scrub");
  const cache = join(dir.path, "nowhere");
  const config = join(dir.path, "wharfinger.json");
  const settings = { listen: "127.0.0.1:0", admin: { listen: "127.0.0.1:0" }, cache: { dir: cache } };
  await writeFile(config, JSON.stringify(settings));
  const { world, seen } = stageOf();
  assert.equal(await run(["scrub", "--config", config], world), 3);
  assert.match(seen.stderr, /there is no cache at .*nowhere/);
  assert.equal(seen.stdout, "");
  assert.equal(existsSync(cache), false);
});
