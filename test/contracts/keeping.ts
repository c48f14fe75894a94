/**
 * What every blob store owes to what is suspended and taken up later, a part of `describeBlobStore`.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Failure, isFailure } from "../../src/base/failure.ts";
import { digestOf } from "../../src/oci/digest.ts";
import { BARRIER_BYTES, type BlobStore, type Ingest, type Kept } from "../../src/store/blobstore.ts";
import { seededBytes } from "../kit/content.ts";
import { assertDescriptors, type StoreUnderTest } from "./blobstore.ts";
import { readToEnd, readVisible, waitBeyond } from "./reading.ts";
import { pourInto } from "./writing.ts";

const SIZE = 3 * 1024 * 1024 + 777;
const HALF = 1024 * 1024 + 333;
const bytes = seededBytes(SIZE, 17);
const digest = digestOf(bytes);
const cut = new Failure("unreachable", "cut");
const nothing = () => {};

/** Half of it comes, and it is suspended. */
async function suspended(store: BlobStore, content = bytes): Promise<Kept> {
  const ingest = await store.ingest(digest);
  ingest.declareSize(SIZE);
  const lane = ingest.lane(0);
  await pourInto(lane, content.subarray(0, HALF));
  lane.close();
  const written = await ingest.suspend(cut);
  ingest.close();
  assert.equal(written?.writtenBytes, HALF);
  return { file: ingest.file, sizeBytes: SIZE, prefixBytes: HALF };
}

async function complete(ingest: Ingest, from: number): Promise<void> {
  const lane = ingest.lane(from);
  await pourInto(lane, bytes.subarray(from));
  lane.close();
  await (await ingest.finish()).stored;
  ingest.close();
}

export function describeKeeping(make: () => Promise<StoreUnderTest>): void {
  test("what was suspended is taken up where it was, shown at once below the barrier, and stored", async () => {
    await using made = await make();
    const kept = await suspended(made.store);
    assert.deepEqual(await made.store.partials(), [kept.file]);
    const ingest = await made.store.ingest(digest, kept);
    assert.deepEqual([ingest.file, ingest.receivedBytes, ingest.sizeBytes], [kept.file, HALF, SIZE]);
    assert.equal(ingest.written().writtenBytes, HALF);
    assert.deepEqual(await made.store.partials(), [], "what runs is nobody else's");
    const follower = ingest.follow(nothing);
    assert.equal(follower.visible(), HALF);
    assert.deepEqual(await readVisible(follower, 0, HALF), bytes.subarray(0, HALF));
    await complete(ingest, HALF);
    assert.deepEqual(await readToEnd(follower), bytes);
    follower.close();
    assert.deepEqual(await made.store.read(digest, SIZE), bytes);
    assert.deepEqual([await made.store.partials(), await made.leftovers()], [[], []]);
  });

  test("less than was written can be taken up, in several steps, and by pieces in any order", async () => {
    await using made = await make();
    const kept = await suspended(made.store);
    const first = await made.store.ingest(digest, { ...kept, prefixBytes: HALF - 1000 });
    const some = first.lane(HALF - 1000, HALF + 2000);
    await pourInto(some, bytes.subarray(HALF - 1000, HALF + 2000));
    some.close();
    const far = first.lane(HALF + 500_000);
    await pourInto(far, bytes.subarray(HALF + 500_000));
    far.close();
    // What has a gap before it does not count.
    assert.equal((await first.suspend(cut))?.writtenBytes, HALF + 2000);
    first.close();
    const second = await made.store.ingest(digest, { ...kept, prefixBytes: HALF + 2000 });
    await complete(second, HALF + 2000);
    assert.deepEqual(await made.store.read(digest, SIZE), bytes);
  });

  test("what was taken up and brought nothing is as it was, and can be taken up again", async () => {
    await using made = await make();
    const kept = await suspended(made.store);
    for (let round = 0; round < 2; round += 1) {
      const ingest = await made.store.ingest(digest, kept);
      assert.equal((await ingest.suspend(cut))?.writtenBytes, HALF);
      ingest.close();
    }
    await complete(await made.store.ingest(digest, kept), HALF);
    assert.deepEqual(await made.store.read(digest, SIZE), bytes);
  });

  test("what was there before is verified like all else, and never shown to its end where it is wrong", async () => {
    await using made = await make();
    const wrong = Buffer.from(bytes);
    wrong.writeUInt8(wrong.readUInt8(1000) ^ 1, 1000);
    const kept = await suspended(made.store, wrong);
    const ingest = await made.store.ingest(digest, kept);
    const follower = ingest.follow(nothing);
    await assert.rejects(complete(ingest, HALF), (error) => isFailure(error, "corrupt"));
    assert.ok(follower.visible() <= SIZE - BARRIER_BYTES);
    await ingest.fail(new Failure("corrupt", "other content"));
    ingest.close();
    follower.close();
    assert.deepEqual([await made.store.partials(), await made.leftovers()], [[], []]);
    assert.equal(made.store.has(digest), false);
    await complete(await made.store.ingest(digest), 0);
  });

  test("followers of what is suspended learn why it ended", async () => {
    await using made = await make();
    const ingest = await made.store.ingest(digest);
    ingest.declareSize(SIZE);
    const follower = ingest.follow(nothing);
    const told: Error[] = [];
    ingest.onFailure((error) => told.push(error));
    const lane = ingest.lane(0);
    await pourInto(lane, bytes.subarray(0, HALF));
    lane.close();
    const woken = waitBeyond(follower, SIZE);
    await ingest.suspend(cut);
    await woken;
    assert.deepEqual([follower.failure(), told], [cut, [cut]]);
    follower.close();
    ingest.close();
    await assert.rejects(ingest.finish(), (error) => error === cut);
  });

  test("what is gone, or shorter than it should be, is begun anew", async () => {
    await using made = await make();
    const kept = await suspended(made.store);
    for (const claimed of [
      { ...kept, file: "sha256-00.00000000-1" },
      { ...kept, file: "../x" },
      { ...kept, prefixBytes: HALF + 1 },
    ]) {
      const ingest = await made.store.ingest(digest, claimed);
      assert.deepEqual([ingest.receivedBytes, ingest.sizeBytes], [0, undefined]);
      await ingest.fail(cut);
      ingest.close();
    }
    assert.deepEqual(await made.store.partials(), [], "too short a file is of no use");
    await complete(await made.store.ingest(digest), 0);
    assert.deepEqual(await made.leftovers(), []);
  });

  test("nothing is kept of what has failed, of documents, or of what has not begun", async () => {
    await using made = await make();
    const failed = await made.store.ingest(digest);
    await failed.fail(cut);
    assert.equal(await failed.suspend(cut), undefined);
    const empty = await made.store.ingest(digest);
    assert.equal(await empty.suspend(cut), undefined);
    const document = await made.store.ingest(digest);
    document.write(bytes.subarray(0, 1000));
    assert.equal(await document.suspend(cut), undefined);
    for (const ingest of [failed, empty, document]) ingest.close();
    assert.deepEqual([await made.store.partials(), await made.leftovers()], [[], []]);
    await assertDescriptors(made.mark, 0);
  });

  test("a kept file is removed by its name", async () => {
    await using made = await make();
    const kept = await suspended(made.store);
    await made.store.removePartial(kept.file);
    await made.store.removePartial(kept.file);
    assert.deepEqual([await made.store.partials(), await made.leftovers()], [[], []]);
  });
}
