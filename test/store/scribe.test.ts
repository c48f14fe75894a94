/** The thread that hashes and writes: what its death, its end and its memory mean to ingests. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { open as openFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import type { Worker } from "node:worker_threads";
import { isFailure } from "../../src/base/failure.ts";
import { digestOf } from "../../src/oci/digest.ts";
import { DiskStore } from "../../src/store/disk.ts";
import { Scribe } from "../../src/store/scribe.ts";
import { LARGE_BYTES, Slabs, SMALL_BYTES } from "../../src/store/slabs.ts";
import { waitBeyond } from "../contracts/reading.ts";
import { pourInto } from "../contracts/writing.ts";
import { seededBytes } from "../kit/content.ts";
import { filesUnder, openResources, residueSince } from "../kit/residue.ts";
import { makeTempDir } from "../kit/temp.ts";

const SIZE = 3 * 1024 * 1024 + 5;

async function open(slabs = new Slabs()) {
  const dir = await makeTempDir("scribe");
  const scribe = new Scribe(slabs);
  const store = await DiskStore.open(dir.path, undefined, scribe);
  return {
    store,
    slabs,
    begin: async (bytes: Buffer) => {
      const ingest = await store.ingest(digestOf(bytes));
      ingest.declareSize(bytes.length);
      return ingest;
    },
    partials: () => filesUnder(join(dir.path, "partial")),
    [Symbol.asyncDispose]: async () => {
      await store.stop();
      assert.equal(slabs.outBytes, 0);
      await dir[Symbol.asyncDispose]();
    },
  };
}

/** The next thread that is started in this process. */
async function nextWorker(): Promise<Worker> {
  const [worker] = (await once(process, "worker")) as [Worker];
  return worker;
}

test("the death of the thread fails what it wrote as trouble of the storage, and the next ingest works", async () => {
  await using made = await open();
  const bytes = seededBytes(SIZE);
  const ingest = await made.begin(bytes);
  const follower = ingest.follow(() => {});
  const lane = ingest.lane(0);
  const starting = nextWorker();
  await pourInto(lane, bytes.subarray(0, SIZE / 2));
  await waitBeyond(follower, 0);
  const worker = await starting;
  const failed = waitBeyond(follower, SIZE);
  const told: Error[] = [];
  ingest.onFailure((error) => told.push(error));
  await worker.terminate();
  await failed;
  assert.deepEqual(told, [follower.failure()]);
  assert.ok(isFailure(follower.failure(), "storage"));
  assert.match(String(follower.failure()), /has died/);
  assert.throws(
    () => {
      lane.space();
      lane.filled(1);
    },
    (error) => isFailure(error, "storage"),
  );
  lane.close();
  await assert.rejects(ingest.finish(), (error) => isFailure(error, "storage"));
  await ingest.fail(new Error("over"));
  ingest.close();
  follower.close();
  assert.deepEqual(await made.partials(), []);
  assert.equal(made.slabs.outBytes, 0);

  const again = await made.begin(bytes);
  const second = again.lane(0);
  await pourInto(second, bytes);
  second.close();
  await (await again.finish()).stored;
  again.close();
  assert.deepEqual(await made.store.read(digestOf(bytes), SIZE), bytes);
});

test("a disk that refuses a write fails that file alone, and its memory comes back", async () => {
  await using dir = await makeTempDir("scribe");
  const scribe = new Scribe();
  const told: string[] = [];
  const path = join(dir.path, "file");
  await writeFile(path, "");
  // A descriptor that cannot be written stands for a disk that is full.
  for (const [flags, expected] of [
    ["r", ["failed", "done", "done"]],
    ["r+", ["done", "done"]],
  ] as const) {
    const file = await openFile(path, flags);
    const pen = scribe.open(file.fd, "sha256", {
      done: () => told.push("done"),
      failed: (error) => told.push(error.kind === "storage" ? "failed" : error.kind),
    });
    const slab = scribe.slabs.takeSmall();
    const from = { slab, done: () => {} };
    pen.write({ bytes: slab.bytes.subarray(0, 10), at: 0, from });
    pen.write({ bytes: slab.bytes.subarray(10, 20), at: 10, from });
    const finished = pen.finish();
    if (flags === "r") await assert.rejects(finished, (error) => isFailure(error, "storage"));
    else assert.equal(await finished, digestOf(Buffer.alloc(20)));
    await pen.end();
    await file.close();
    assert.deepEqual(told.splice(0), expected);
    scribe.slabs.giveBack(slab);
  }
  assert.equal(scribe.slabs.outBytes, 0);
  await scribe.stop();
});

test("a store that is stopped fails what still runs, and starts nothing more", async () => {
  const baseline = openResources();
  await using made = await open();
  const bytes = seededBytes(SIZE);
  const ingest = await made.begin(bytes);
  const lane = ingest.lane(0);
  await pourInto(lane, bytes.subarray(0, SIZE - 1));
  await made.store.stop();
  await assert.rejects(ingest.finish(), (error) => isFailure(error));
  lane.close();
  await ingest.fail(new Error("over"));
  ingest.close();
  const late = await made.begin(bytes);
  const refused = late.lane(0);
  refused.space();
  refused.filled(1);
  assert.throws(
    () => refused.filled(1),
    (error) => isFailure(error, "storage"),
  );
  await late.fail(new Error("over"));
  refused.close();
  late.close();
  assert.deepEqual(await made.partials(), []);
  assert.deepEqual(await residueSince(baseline), []);
});

test("a small blob wakes no thread", async () => {
  await using made = await open();
  let started = 0;
  const count = () => {
    started += 1;
  };
  process.on("worker", count);
  const bytes = seededBytes(SMALL_BYTES);
  const ingest = await made.begin(bytes);
  const lane = ingest.lane(0);
  await pourInto(lane, bytes);
  lane.close();
  await (await ingest.finish()).stored;
  ingest.close();
  process.off("worker", count);
  assert.equal(started, 0);
  assert.deepEqual(await made.store.read(digestOf(bytes), SIZE), bytes);
});

test("many bodies at once share the memory there is, none of them stands still, and all of it comes back", async () => {
  const limit = 4 * LARGE_BYTES;
  await using made = await open(new Slabs(limit));
  const bodies = Array.from({ length: 12 }, (_, seed) => seededBytes(SIZE, seed + 1));
  let most = 0;
  await Promise.all(
    bodies.map(async (bytes) => {
      const ingest = await made.begin(bytes);
      const lane = ingest.lane(0);
      for (let at = 0; at < SIZE; at += 200_000) {
        await pourInto(lane, bytes.subarray(at, at + 200_000), 200_000);
        most = Math.max(most, made.slabs.outBytes);
      }
      lane.close();
      await (await ingest.finish()).stored;
      ingest.close();
    }),
  );
  assert.ok(most <= limit + bodies.length * SMALL_BYTES, `${most} bytes`);
  for (const bytes of bodies) assert.ok((await made.store.read(digestOf(bytes), SIZE))?.equals(bytes));
});
