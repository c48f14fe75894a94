/**
 * The index of a mirror is zeroed, gone or breaks while it runs: the mirror starts, says so once, serves, and comes to
 * know its files again.
 */
import assert from "node:assert/strict";
import { existsSync, readdirSync, renameSync, rmSync, statSync, truncateSync, writeFileSync } from "node:fs";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { createMirror, type Mirror } from "../../src/app.ts";
import { isFailure } from "../../src/base/failure.ts";
import { schema } from "../../src/config/schema.ts";
import { Inventory } from "../../src/meta/inventory.ts";
import { openIndex } from "../../src/meta/recovery.ts";
import type { ReconciledFact } from "../../src/mirror/notices.ts";
import { digestOf } from "../../src/oci/digest.ts";
import { ManualClock } from "../kit/clock.ts";
import { get } from "../kit/http.ts";
import { makeImage, makeIndex, type TestImage } from "../kit/image.ts";
import { TestMirror } from "../kit/mirror.ts";
import { openResources, residueSince } from "../kit/residue.ts";
import { makeTempDir } from "../kit/temp.ts";
import { TestUpstream } from "../kit/upstream.ts";
import { testInOneProcess } from "../kit/workers.ts";
import { command } from "./holdings-stage.ts";

const testHere = testInOneProcess("needs this process's clock or database");

const image = makeImage({ layers: [1000, 20_000, 300_000] });
const other = makeImage({ seed: 2, architecture: "arm64", layers: [1000] });
const index = makeIndex([image, other]);

/** As a client pulls it: the tag, then what it names. @returns the statuses that were not 200. */
async function pull(url: string, tag: string, of: TestImage): Promise<number[]> {
  const answers = [await get(`${url}/v2/demo/manifests/${tag}`)];
  for (const { digest } of [of.config, ...of.layers]) answers.push(await get(`${url}/v2/demo/blobs/${digest}`));
  return answers.map(({ status }) => status).filter((status) => status !== 200);
}

/** Its facts of the index, from the start on. */
function watch() {
  const told = {
    recovered: [] as string[],
    damaged: [] as string[],
    reconciled: [] as ReconciledFact[],
    trouble: [] as string[],
  };
  const observe = ({ notices }: Mirror) => {
    notices.on("indexRecovered", ({ message }) => told.recovered.push(message));
    notices.on("indexReconciled", (fact) => told.reconciled.push(fact));
    notices.on("indexDamaged", ({ message }) => told.damaged.push(message));
    notices.on("storageTrouble", ({ message }) => told.trouble.push(message));
    notices.on("backgroundFailed", ({ what }) => told.trouble.push(what));
  };
  return { told, observe };
}

function openRooms(root: string) {
  const opened = openIndex(root, false);
  return { index: opened, inventory: new Inventory(opened.database) };
}

async function metric(mirror: TestMirror, name: string): Promise<number> {
  const text = (await get(`${mirror.adminUrl}/metrics`)).body.toString();
  return Number(new RegExp(`^${name} (\\S+)$`, "m").exec(text)?.[1]);
}

const zero = (path: string) => writeFileSync(path, Buffer.alloc(statSync(path).size));
const indexOf = (dir: string) => join(dir, "v1", "index.sqlite");

testHere("tags and permissions survive a zeroed index by the backup, and are served offline", async () => {
  const clock = new ManualClock();
  const upstream = await TestUpstream.start();
  upstream.shelves.add("library/demo", image, "1");
  await using first = await TestMirror.start({ upstreams: { "docker.io": upstream }, clock });
  assert.deepEqual(await pull(first.url, "1", image), []);
  await first.settled();
  const backup = join(first.dir, "v1", "index.backup.sqlite");
  await clock.advance(4 * 60_000);
  assert.equal(existsSync(backup), false);
  await clock.advance(60_000);
  await first.until(() => existsSync(backup), "no backup was made");
  await first.mirror.stop();
  await upstream.close();
  zero(indexOf(first.dir));

  const { told, observe } = watch();
  const config = { offline: true };
  await using second = await TestMirror.start({
    upstreams: { "docker.io": upstream.url },
    dir: first.dir,
    config,
    observe,
  });
  assert.deepEqual(await pull(second.url, "1", image), []);
  assert.equal(told.recovered.length, 1);
  assert.match(told.recovered[0] ?? "", /rebuilt \(file is not a database\); it was set aside as .*The backup of 20/);
  await second.until(() => told.reconciled.length === 1, "the files were not compared");
  assert.deepEqual([told.reconciled[0]?.added, told.reconciled[0]?.dropped, told.reconciled[0]?.files], [0, 0, 5]);
  assert.deepEqual(told.trouble, []);
});

test("without a backup a mirror whose index is gone serves as before, and counts its files again", async () => {
  await using upstream = await TestUpstream.start();
  upstream.shelves.add("library/demo", image, "1");
  upstream.shelves.add("library/demo", other, "2");
  upstream.shelves.add("library/demo", index, "all");
  await using first = await TestMirror.start({ upstreams: { "docker.io": upstream } });
  assert.deepEqual(await pull(first.url, "all", image), []);
  assert.deepEqual(await pull(first.url, "1", image), []);
  assert.deepEqual(await pull(first.url, "2", other), []);
  const blobs = 9;
  await first.until(async () => (await metric(first, "wharfinger_cache_blobs")) === blobs, "not all is stored");
  const bytes = await metric(first, "wharfinger_cache_size_bytes");
  await first.mirror.stop();

  for (const lose of [zero, (path: string) => rmSync(path)]) {
    lose(indexOf(first.dir));
    const { told, observe } = watch();
    const again = await TestMirror.start({ upstreams: { "docker.io": upstream }, dir: first.dir, observe });
    try {
      assert.equal(told.recovered.length, 1);
      assert.match(told.recovered[0] ?? "", /Tags, permissions, pins and counts of uses are lost/);
      await again.until(() => told.reconciled.length === 1, "the files were not compared");
      const { added, addedBytes, linked, dropped } = told.reconciled[0] ?? {};
      assert.deepEqual(
        { added, addedBytes, linked, dropped },
        { added: blobs, addedBytes: bytes, linked: 3, dropped: 0 },
      );
      assert.equal(await metric(again, "wharfinger_cache_size_bytes"), bytes);
      upstream.forgetRequests();
      assert.deepEqual(await pull(again.url, "all", image), []);
      assert.deepEqual(await pull(again.url, "2", other), []);
      const fetched = upstream.requests.filter(({ method, path }) => method === "GET" && path.includes("/blobs/"));
      assert.deepEqual(fetched, [], "permission is asked for, and nothing is fetched twice");
      assert.equal(await metric(again, "wharfinger_cache_size_bytes"), bytes);
    } finally {
      await again.mirror.stop();
    }
  }

  const { told, observe } = watch();
  await using last = await TestMirror.start({ upstreams: { "docker.io": upstream }, dir: first.dir, observe });
  assert.deepEqual(await pull(last.url, "1", image), []);
  assert.deepEqual(told, { recovered: [], damaged: [], reconciled: [], trouble: [] });
});

testHere(
  "an index that breaks while it is used is told once, costs no pull, and is rebuilt by the next start",
  async () => {
    await using upstream = await TestUpstream.start();
    upstream.shelves.add("library/demo", image, "1");
    upstream.shelves.add("library/demo", other, "2");
    const { told, observe } = watch();
    const baseline = openResources();
    await using mirror = await TestMirror.start({ upstreams: { "docker.io": upstream }, observe });
    assert.deepEqual(await pull(mirror.url, "1", image), []);
    await mirror.settled();
    const { StatementSync } = await import("node:sqlite");
    const { get: ownGet, all: ownAll, run: ownRun } = StatementSync.prototype;
    const broken = () => {
      throw Object.assign(new Error("database disk image is malformed"), { code: "ERR_SQLITE_ERROR", errcode: 11 });
    };
    Object.assign(StatementSync.prototype, { get: broken, all: broken, run: broken });
    try {
      for (let round = 0; round < 3; round += 1) {
        assert.deepEqual(await pull(mirror.url, "1", image), []);
        assert.deepEqual(await pull(mirror.url, "2", other), []);
      }
      await mirror.settled();
    } finally {
      Object.assign(StatementSync.prototype, { get: ownGet, all: ownAll, run: ownRun });
    }
    assert.equal(told.damaged.length, 1);
    const ready = await get(`${mirror.adminUrl}/readyz`);
    const { status, reason } = JSON.parse(ready.body.toString()) as Record<string, unknown>;
    assert.deepEqual([ready.status, status], [200, "degraded"]);
    assert.match(String(reason), /^the index is damaged/);
    await mirror.mirror.stop();
    assert.deepEqual(await residueSince(baseline), []);

    const next = watch();
    await using again = await TestMirror.start({ upstreams: { "docker.io": upstream }, dir: mirror.dir, ...next });
    assert.equal(next.told.recovered.length, 1);
    assert.match(next.told.recovered[0] ?? "", /malformed/);
    assert.deepEqual(await pull(again.url, "2", other), []);
    assert.ok(!readdirSync(join(mirror.dir, "v1")).includes("index.condemned"));
  },
);

test("an index whose file is cut while it is used costs no pull, in any process, and is rebuilt by the next start", async () => {
  await using upstream = await TestUpstream.start();
  const images = [1, 2, 3].map((seed) => makeImage({ seed, layers: [1000, 2000] }));
  for (const [at, of] of images.entries()) upstream.shelves.add("library/demo", of, `${at}`);
  await using dir = await makeTempDir("cut");
  const root = join(dir.path, "v1");
  await mkdir(root);
  const { index: prepared, inventory } = openRooms(root);
  // More than is held in memory of it.
  const rows = [...Array(20_000).keys()].map((at) => digestOf(Buffer.from(`${at}`)));
  inventory.addBlobs(rows.map((digest) => ({ digest, sizeBytes: 1, upstream: "docker.io", storedAt: 1 })));
  prepared.close();
  const { told, observe } = watch();
  const options = { upstreams: { "docker.io": upstream }, dir: dir.path };
  const mirror = await TestMirror.start({ ...options, observe });
  try {
    truncateSync(join(root, "index.sqlite"), 8192);
    for (let round = 0; round < 2; round += 1) {
      for (const [at, of] of images.entries()) assert.deepEqual(await pull(mirror.url, `${at}`, of), []);
    }
    // Told by the process that found it, which may be one that answers clients.
    await mirror.until(() => readdirSync(root).includes("index.condemned"), "the damage was not noticed");
    assert.ok(told.damaged.length <= 1);
  } finally {
    await mirror.mirror.stop();
  }
  const next = watch();
  await using again = await TestMirror.start({ ...options, ...next });
  assert.equal(next.told.recovered.length, 1);
  for (const [at, of] of images.entries()) assert.deepEqual(await pull(again.url, `${at}`, of), []);
  assert.deepEqual(next.told.damaged, []);
});

test("a cache directory with a newer format is refused, and nothing is made in it", async () => {
  await using dir = await makeTempDir("newer");
  await mkdir(join(dir.path, "v2"));
  const config = schema.parse({ cache: { dir: dir.path }, listen: "127.0.0.1:0", admin: { listen: "127.0.0.1:0" } });
  await assert.rejects(
    createMirror(config, { log: false }),
    (error) =>
      isFailure(error, "storage") && /v2 was written by a newer version; this one knows format v1/.test(error.message),
  );
  assert.deepEqual(readdirSync(dir.path), ["v2"]);
});

test("a mirror whose blobs are not mounted says so, serves, and has lost nothing when they are back", async () => {
  await using upstream = await TestUpstream.start();
  upstream.shelves.add("library/demo", image, "1");
  await using dir = await makeTempDir("away");
  const options = { upstreams: { "docker.io": upstream }, dir: dir.path };
  const readiness = async (mirror: TestMirror) =>
    JSON.parse((await get(`${mirror.adminUrl}/readyz`)).body.toString()) as Record<string, unknown>;
  const first = await TestMirror.start(options);
  assert.deepEqual(await pull(first.url, "1", image), []);
  await first.settled();
  assert.equal((await readiness(first))["status"], "ready");
  await first.mirror.stop();
  const blobs = join(dir.path, "v1", "blobs");
  renameSync(blobs, `${blobs}-away`);

  const bare = await TestMirror.start(options);
  try {
    const { status, reason } = await readiness(bare);
    assert.equal(status, "degraded");
    assert.match(String(reason), /is its file system not mounted/);
  } finally {
    await bare.mirror.stop();
  }
  rmSync(blobs, { recursive: true });
  renameSync(`${blobs}-away`, blobs);
  await using again = await TestMirror.start(options);
  assert.equal((await readiness(again))["status"], "ready");
  upstream.forgetRequests();
  assert.deepEqual(await pull(again.url, "1", image), []);
  assert.deepEqual(upstream.requests, []);
});

testHere("a command that finds the index gone before any mirror does says so, once", async () => {
  await using dir = await makeTempDir("index-loss");
  const upstream = await TestUpstream.start();
  upstream.shelves.add("library/demo", image, "1");
  {
    await using mirror = await TestMirror.start({ upstreams: { "docker.io": upstream }, dir: dir.path });
    assert.deepEqual(await pull(mirror.url, "1", image), []);
    await mirror.settled();
  }
  for (const name of readdirSync(join(dir.path, "v1")))
    if (name.startsWith("index")) rmSync(join(dir.path, "v1", name));
  const [first, second] = [await command(dir.path, ["ls"]), await command(dir.path, ["ls"])];
  assert.equal(first.code, 0);
  assert.match(first.stderr, /^wharfinger: warning: the index had to be rebuilt \(it is missing\).*as clients pull/);
  assert.equal(second.stderr, "");
  await upstream[Symbol.asyncDispose]();
});
