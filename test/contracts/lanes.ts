/** What an ingest owes to several bodies that bring one blob, a part each, in any order. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { isFailure } from "../../src/base/failure.ts";
import { digestOf } from "../../src/oci/digest.ts";
import { BARRIER_BYTES, type BlobStore } from "../../src/store/blobstore.ts";
import { seededBytes } from "../kit/content.ts";
import { readToEnd, readVisible, waitBeyond } from "./reading.ts";
import { pourInto } from "./writing.ts";

interface Made {
  readonly store: BlobStore;
  leftovers(): Promise<readonly string[]>;
  [Symbol.asyncDispose](): Promise<void>;
}

const KIB = 1024;
const SIZE = 3 * 1024 * KIB + 777;
const nothing = () => {};

export function describeLanes(make: () => Promise<Made>): void {
  const begin = async (made: Made, bytes: Buffer, digest = digestOf(bytes)) => {
    const ingest = await made.store.ingest(digest);
    ingest.declareSize(bytes.length);
    return ingest;
  };

  test("whatever the order of the pieces, followers see a prefix of true bytes, and the blob is whole", async () => {
    await using made = await make();
    const shape = fc.record({
      size: fc.integer({ min: 1, max: 3 * 1024 * KIB }),
      cuts: fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { maxLength: 6 }),
      order: fc.infiniteStream(fc.nat(1000)),
      algorithm: fc.constantFrom("sha256" as const, "sha512" as const),
    });
    await fc.assert(
      fc.asyncProperty(shape, async ({ size, cuts, order, algorithm }) => {
        const bytes = seededBytes(size, 7);
        const ingest = await begin(made, bytes, digestOf(bytes, algorithm));
        const follower = ingest.follow(nothing);
        const reading = readToEnd(follower);
        const ends = [...new Set([...cuts.map((cut) => Math.floor(cut * size)), size])].filter((end) => end > 0);
        const pieces = ends.sort((a, b) => a - b).map((end, at) => ({ start: ends[at - 1] ?? 0, end }));
        const shuffled = pieces
          .map((piece) => ({ piece, rank: order.next().value }))
          .sort((a, b) => a.rank - b.rank)
          .map(({ piece }) => piece);
        for (const { start, end } of shuffled) {
          const lane = ingest.lane(start, end);
          await pourInto(lane, bytes.subarray(start, end), 300 * KIB);
          assert.ok(lane.isFull);
          assert.equal(lane.position, end);
          lane.close();
        }
        assert.equal(ingest.receivedBytes, size);
        await (await ingest.finish()).stored;
        ingest.close();
        assert.ok((await reading).equals(bytes));
        follower.close();
        await made.store.remove(ingest.digest);
      }),
      { numRuns: 25 },
    );
    assert.deepEqual(await made.leftovers(), []);
  });

  test("bytes behind a gap are not shown before it is filled", async () => {
    await using made = await make();
    const bytes = seededBytes(SIZE);
    const ingest = await begin(made, bytes);
    const follower = ingest.follow(nothing);
    const [first, second, third] = [
      ingest.lane(0, 1024 * KIB),
      ingest.lane(1024 * KIB, 2048 * KIB),
      ingest.lane(2048 * KIB),
    ];
    await pourInto(third, bytes.subarray(2048 * KIB));
    await pourInto(second, bytes.subarray(1024 * KIB, 1500 * KIB));
    assert.equal(follower.visible(), 0);
    await pourInto(first, bytes.subarray(0, 1024 * KIB));
    await waitBeyond(follower, 1500 * KIB - 1);
    assert.equal(follower.visible(), 1500 * KIB);
    assert.deepEqual(await readVisible(follower, 0, 1500 * KIB), bytes.subarray(0, 1500 * KIB));
    await pourInto(second, bytes.subarray(1500 * KIB, 2048 * KIB));
    await waitBeyond(follower, SIZE - BARRIER_BYTES - 1);
    assert.equal(follower.visible(), SIZE - BARRIER_BYTES);
    for (const lane of [first, second, third]) lane.close();
    await (await ingest.finish()).stored;
    ingest.close();
    assert.deepEqual(await readToEnd(follower), bytes);
    follower.close();
  });

  test("a wrong byte in a piece that came early is found, and nothing is kept", async () => {
    await using made = await make();
    const bytes = seededBytes(SIZE);
    const ingest = await begin(made, bytes);
    const wrong = Buffer.from(bytes);
    wrong[1500 * KIB] = (wrong[1500 * KIB] ?? 0) ^ 1;
    for (const [start, end] of [
      [1024 * KIB, SIZE],
      [0, 1024 * KIB],
    ] as const) {
      const lane = ingest.lane(start, end);
      await pourInto(lane, wrong.subarray(start, end));
      lane.close();
    }
    await assert.rejects(ingest.finish(), (error) => {
      assert.ok(isFailure(error, "corrupt"));
      assert.deepEqual(error.detail, { expected: digestOf(bytes), found: digestOf(wrong) });
      return true;
    });
    assert.ok(ingest.visible() <= SIZE - BARRIER_BYTES);
    await ingest.fail(new Error("corrupt"));
    ingest.close();
    assert.deepEqual(await made.leftovers(), []);
    assert.equal(await made.store.open(digestOf(bytes)), undefined);
  });

  test("a lane takes no byte behind its end", async () => {
    await using made = await make();
    const bytes = seededBytes(SIZE);
    const ingest = await begin(made, bytes);
    const lane = ingest.lane(10, 100_000);
    await pourInto(lane, bytes.subarray(10, 100_000));
    assert.throws(
      () => lane.filled(Math.min(1, lane.space().length)),
      (error) => isFailure(error, "corrupt"),
    );
    lane.close();
    await ingest.fail(new Error("over"));
    ingest.close();
    assert.deepEqual(await made.leftovers(), []);
  });

  test("a lane that waits is told of a failure, and its next bytes say which", async () => {
    await using made = await make();
    const bytes = seededBytes(SIZE);
    const ingest = await begin(made, bytes);
    const lane = ingest.lane(0);
    const told = new Promise<void>((resolve) => lane.onDrain(resolve));
    const reason = new Error("enough");
    await ingest.fail(reason);
    await told;
    lane.space();
    assert.throws(
      () => lane.filled(1),
      (error) => error === reason,
    );
    lane.close();
    ingest.close();
    assert.deepEqual(await made.leftovers(), []);
  });
}
