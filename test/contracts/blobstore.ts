/**
 * What every blob store owes, whatever it keeps its bytes in.
 *
 * A suite: the tests of an implementation call `describeBlobStore` with a way to make one.
 */
import assert from "node:assert/strict";
import { existsSync, readdirSync, readlinkSync } from "node:fs";
import { describe, test } from "node:test";
import fc from "fast-check";
import { Failure, isFailure } from "../../src/base/failure.ts";
import { type Digest, digestOf } from "../../src/oci/digest.ts";
import { BARRIER_BYTES, type BlobStore, type Ingest } from "../../src/store/blobstore.ts";
import { seededBytes } from "../kit/content.ts";
import { describeKeeping } from "./keeping.ts";
import { describeLanes } from "./lanes.ts";
import { readToEnd, readVisible, waitBeyond } from "./reading.ts";
import { storeOfBodies } from "./writing.ts";

export interface StoreUnderTest {
  readonly store: BlobStore;
  /** Part of the path of every file that the store has open. */
  readonly mark: string;
  /** What is left of writes that have not been stored. */
  leftovers(): Promise<readonly string[]>;
  [Symbol.asyncDispose](): Promise<void>;
}

const BIG = 5 * BARRIER_BYTES + 777;
const KIB = 1024;
const DESCRIPTORS = "/proc/self/fd";

const isCorrupt = (error: unknown) => isFailure(error, "corrupt");
const nothing = () => {};

/** Writes everything, waiting where the ingest asks for it. */
async function writeAll(ingest: Ingest, bytes: Buffer, chunkBytes = 50_000): Promise<void> {
  for (let at = 0; at < bytes.length; at += chunkBytes) {
    if (!ingest.write(bytes.subarray(at, at + chunkBytes))) {
      await new Promise<void>((resolve) => ingest.onDrain(resolve));
    }
  }
}

async function put(store: BlobStore, bytes: Buffer, digest: Digest = digestOf(bytes)): Promise<Digest> {
  const ingest = await store.ingest(digest);
  ingest.declareSize(bytes.length);
  await writeAll(ingest, bytes);
  const finished = await ingest.finish();
  assert.equal(finished.sizeBytes, bytes.length);
  await finished.stored;
  ingest.close();
  return digest;
}

async function isAbsent(store: BlobStore, digest: Digest): Promise<boolean> {
  const follower = await store.open(digest);
  follower?.close();
  return follower === undefined && (await store.read(digest, 2 ** 30)) === undefined;
}

function descriptorsOf(mark: string): number {
  return readdirSync(DESCRIPTORS).filter((fd) => {
    try {
      return readlinkSync(`${DESCRIPTORS}/${fd}`).includes(mark);
    } catch {
      return false;
    }
  }).length;
}

/** Descriptors are closed behind: what counts is where the number settles, and the wait has an end. */
export async function assertDescriptors(mark: string, expected: number): Promise<void> {
  for (let round = 0; round < 200 && descriptorsOf(mark) !== expected; round += 1) {
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  assert.equal(descriptorsOf(mark), expected);
}

export function describeBlobStore(name: string, make: () => Promise<StoreUnderTest>): void {
  const makeForBodies = async () => {
    const made = await make();
    const dispose = () => made[Symbol.asyncDispose]();
    return { ...made, store: storeOfBodies(made.store), [Symbol.asyncDispose]: dispose };
  };
  for (const [what, makeOne] of [
    ["documents", make],
    ["bodies", makeForBodies],
  ] as const) {
    describe(`${name} as a store of ${what}`, () => {
      describeStored(makeOne);
      describeRefusals(makeOne);
      describeFollowers(makeOne);
      describeResources(makeOne);
    });
  }
  describe(`${name} as a store of bodies in pieces`, () => describeLanes(make));
  describe(`${name} as a store of what is taken up later`, () => describeKeeping(make));
}

function describeStored(make: () => Promise<StoreUnderTest>): void {
  test("what was never stored is absent, which is no failure", async () => {
    await using made = await make();
    assert.ok(await isAbsent(made.store, digestOf(Buffer.from("never"))));
  });

  test("what was ingested and finished is read back, byte for byte", async () => {
    await using made = await make();
    for (const size of [0, 1, 1000, BARRIER_BYTES, BARRIER_BYTES + 1, BIG]) {
      const bytes = seededBytes(size, 3);
      const digest = await put(made.store, bytes);
      const follower = await made.store.open(digest);
      assert.ok(follower !== undefined);
      assert.equal(follower.digest, digest);
      assert.equal(follower.sizeBytes, size);
      assert.equal(follower.visible(), size);
      assert.equal(follower.failure(), undefined);
      assert.deepEqual(await readToEnd(follower), bytes);
      follower.close();
      assert.deepEqual(await made.store.read(digest, BIG), bytes);
    }
    assert.deepEqual(await made.leftovers(), []);
  });

  test("a sha512 digest is verified as one", async () => {
    await using made = await make();
    const bytes = seededBytes(1000);
    const digest = await put(made.store, bytes, digestOf(bytes, "sha512"));
    assert.deepEqual(await made.store.read(digest, 1000), bytes);
    assert.ok(await isAbsent(made.store, digestOf(bytes)));
  });

  test("a blob whose size nobody declared is stored with the size it turned out to have", async () => {
    await using made = await make();
    const bytes = seededBytes(BIG);
    const ingest = await made.store.ingest(digestOf(bytes));
    await writeAll(ingest, bytes);
    assert.equal(ingest.visible(), 0);
    const finished = await ingest.finish();
    assert.equal(finished.sizeBytes, BIG);
    assert.equal(ingest.sizeBytes, BIG);
    await finished.stored;
    ingest.close();
    assert.deepEqual(await made.store.read(digestOf(bytes), BIG), bytes);
  });

  test("a blob larger than the limit of a read is not read into memory", async () => {
    await using made = await make();
    const digest = await put(made.store, seededBytes(1000));
    assert.equal((await made.store.read(digest, 1000))?.length, 1000);
    await assert.rejects(made.store.read(digest, 999), (error) => isFailure(error, "storage"));
  });

  test("what was removed is absent, can be removed again, and can be stored again", async () => {
    await using made = await make();
    const bytes = seededBytes(1000);
    const digest = await put(made.store, bytes);
    await made.store.remove(digest);
    assert.ok(await isAbsent(made.store, digest));
    await made.store.remove(digest);
    await put(made.store, bytes);
    assert.deepEqual(await made.store.read(digest, 1000), bytes);
  });

  test("the same blob stored twice is there once, and whole", async () => {
    await using made = await make();
    const bytes = seededBytes(BIG);
    await put(made.store, bytes);
    await put(made.store, bytes);
    assert.deepEqual(await made.store.read(digestOf(bytes), BIG), bytes);
    assert.deepEqual(await made.leftovers(), []);
  });

  test("free space is a number of bytes", async () => {
    await using made = await make();
    const free = await made.store.freeBytes();
    assert.ok(Number.isFinite(free) && free > 0);
  });
}

function describeRefusals(make: () => Promise<StoreUnderTest>): void {
  /** Ends an ingest as whoever runs it does when it has thrown, and sees that nothing is left. */
  const end = async (made: StoreUnderTest, ingest: Ingest) => {
    await ingest.fail(new Failure("corrupt", "refused"));
    assert.deepEqual(await made.leftovers(), []);
    ingest.close();
    assert.ok(await isAbsent(made.store, ingest.digest));
  };

  test("content of another digest is refused, told apart, and nothing of it is left", async () => {
    await using made = await make();
    for (const size of [0, 10, BIG]) {
      const bytes = seededBytes(size, 5);
      const expected = digestOf(Buffer.from("something else"));
      const ingest = await made.store.ingest(expected);
      ingest.declareSize(size);
      await writeAll(ingest, bytes);
      await assert.rejects(ingest.finish(), (error) => {
        assert.ok(isFailure(error, "corrupt"));
        assert.deepEqual(error.detail, { expected, found: digestOf(bytes) });
        return true;
      });
      assert.ok(ingest.visible() <= Math.max(0, size - BARRIER_BYTES));
      await end(made, ingest);
    }
  });

  test("more bytes than declared are refused as they come", async () => {
    await using made = await make();
    const bytes = seededBytes(1000);
    const ingest = await made.store.ingest(digestOf(bytes));
    ingest.declareSize(999);
    ingest.write(bytes.subarray(0, 999));
    assert.throws(() => ingest.write(bytes.subarray(999)), isCorrupt);
    await end(made, ingest);
  });

  test("more bytes than are declared afterwards are refused at the end", async () => {
    await using made = await make();
    const bytes = seededBytes(1000);
    const ingest = await made.store.ingest(digestOf(bytes));
    ingest.write(bytes);
    await assert.rejects(async () => {
      ingest.declareSize(10);
      await ingest.finish();
    }, isCorrupt);
    await end(made, ingest);
  });

  test("fewer bytes than declared are refused, and the last are never shown", async () => {
    await using made = await make();
    const bytes = seededBytes(BIG);
    const ingest = await made.store.ingest(digestOf(bytes));
    ingest.declareSize(BIG);
    await writeAll(ingest, bytes.subarray(0, BIG - 1));
    await assert.rejects(ingest.finish(), isCorrupt);
    assert.ok(ingest.visible() <= BIG - BARRIER_BYTES);
    await end(made, ingest);
  });

  test("a size declared twice must be the same", async () => {
    await using made = await make();
    const ingest = await made.store.ingest(digestOf(Buffer.from("x")));
    ingest.declareSize(5);
    ingest.declareSize(5);
    assert.throws(() => ingest.declareSize(6), isCorrupt);
    assert.equal(ingest.sizeBytes, 5);
    await end(made, ingest);
  });

  test("an ingest that has failed takes no more bytes and cannot be finished", async () => {
    await using made = await make();
    const ingest = await made.store.ingest(digestOf(Buffer.from("x")));
    const reason = new Failure("unreachable", "cut");
    await ingest.fail(reason);
    assert.throws(
      () => ingest.write(Buffer.from("x")),
      (error) => error === reason,
    );
    await assert.rejects(ingest.finish(), (error) => error === reason);
    await end(made, ingest);
  });

  test("a failure removes everything, in the middle of writing as well, and whoever asks twice", async () => {
    await using made = await make();
    const bytes = seededBytes(BIG);
    const ingest = await made.store.ingest(digestOf(bytes));
    ingest.declareSize(BIG);
    ingest.write(bytes.subarray(0, BIG / 2));
    const told: Error[] = [];
    ingest.onFailure((error) => told.push(error));
    const reason = new Failure("unreachable", "cut");
    const first = ingest.fail(reason);
    await ingest.fail(new Failure("unreachable", "and again"));
    assert.deepEqual(told, [reason]);
    assert.deepEqual(await made.leftovers(), []);
    await first;
    await end(made, ingest);
  });

  test("a failure after the blob was verified takes nothing away", async () => {
    await using made = await make();
    const bytes = seededBytes(1000);
    const ingest = await made.store.ingest(digestOf(bytes));
    ingest.write(bytes);
    ingest.onFailure(() => assert.fail("it has not failed"));
    const { stored } = await ingest.finish();
    await ingest.fail(new Error("too late"));
    await stored;
    ingest.close();
    assert.deepEqual(await made.store.read(digestOf(bytes), 1000), bytes);
  });
}

function describeFollowers(make: () => Promise<StoreUnderTest>): void {
  /** A store and an ingest of `bytes` whose size is declared. */
  const begin = async (made: StoreUnderTest, bytes: Buffer) => {
    const ingest = await made.store.ingest(digestOf(bytes));
    ingest.declareSize(bytes.length);
    return ingest;
  };
  const complete = async (ingest: Ingest) => {
    await (await ingest.finish()).stored;
    ingest.close();
  };

  test("a follower sees a growing prefix of what was written, and nothing else", async () => {
    await using made = await make();
    const bytes = seededBytes(BIG);
    const ingest = await begin(made, bytes);
    const follower = ingest.follow(nothing);
    let seen = 0;
    for (let at = 0; at < BIG; at += 30_000) {
      const end = Math.min(BIG, at + 30_000);
      ingest.write(bytes.subarray(at, end));
      await new Promise((resolve) => setImmediate(resolve));
      const visible = follower.visible();
      assert.ok(visible >= seen && visible <= end);
      assert.deepEqual(await readVisible(follower, 0, visible), bytes.subarray(0, visible));
      seen = visible;
    }
    await complete(ingest);
    assert.deepEqual(await readToEnd(follower), bytes);
    follower.close();
  });

  test("the last 64 KiB are held back until the digest is verified, then all is shown", async () => {
    await using made = await make();
    const bytes = seededBytes(BIG);
    const ingest = await begin(made, bytes);
    const follower = ingest.follow(nothing);
    await writeAll(ingest, bytes);
    await waitBeyond(follower, BIG - BARRIER_BYTES - 1);
    assert.equal(follower.visible(), BIG - BARRIER_BYTES);
    const { stored } = await ingest.finish();
    assert.equal(follower.visible(), BIG);
    assert.deepEqual(await readToEnd(follower), bytes);
    await stored;
    ingest.close();
    follower.close();
  });

  test("a blob no larger than the barrier shows nothing until it is verified", async () => {
    await using made = await make();
    for (const size of [1, 1000, BARRIER_BYTES]) {
      const bytes = seededBytes(size);
      const ingest = await begin(made, bytes);
      const follower = ingest.follow(nothing);
      ingest.write(bytes);
      for (let turn = 0; turn < 5; turn += 1) await new Promise((resolve) => setImmediate(resolve));
      assert.equal(follower.visible(), 0);
      await complete(ingest);
      assert.equal(follower.visible(), size);
      assert.deepEqual(await readToEnd(follower), bytes);
      follower.close();
    }
  });

  test("a follower that joins late receives the bytes already written", async () => {
    await using made = await make();
    const bytes = seededBytes(BIG);
    const ingest = await begin(made, bytes);
    const early = ingest.follow(nothing);
    await writeAll(ingest, bytes.subarray(0, 200_000));
    await waitBeyond(early, 199_999);
    const late = ingest.follow(nothing);
    assert.equal(late.visible(), early.visible());
    assert.deepEqual(await readVisible(late, 0, 200_000), bytes.subarray(0, 200_000));
    await writeAll(ingest, bytes.subarray(200_000));
    await complete(ingest);
    assert.deepEqual(await readToEnd(late), bytes);
    early.close();
    late.close();
  });

  test("followers at different offsets are each woken when their bytes are there", async () => {
    await using made = await make();
    const bytes = seededBytes(BIG);
    const ingest = await begin(made, bytes);
    const starts = [0, 1, 65_536, 100_001, BIG - BARRIER_BYTES, BIG - 1];
    const followers = starts.map(() => ingest.follow(nothing));
    const reading = followers.map((follower, at) => readToEnd(follower, starts[at]));
    await writeAll(ingest, bytes, 10_000);
    await complete(ingest);
    for (const [at, start] of starts.entries()) assert.deepEqual(await reading[at], bytes.subarray(start));
    for (const follower of followers) follower.close();
  });

  test("a wait for what is there already is over at once, and one for later only then", async () => {
    await using made = await make();
    const bytes = seededBytes(BIG);
    const ingest = await begin(made, bytes);
    const follower = ingest.follow(nothing);
    let woken = 0;
    follower.wait(150_000, () => {
      woken += 1;
    });
    await writeAll(ingest, bytes.subarray(0, 150_000));
    await waitBeyond(ingest.follow(nothing), 149_999);
    assert.equal(woken, 0);
    await writeAll(ingest, bytes.subarray(150_000));
    await complete(ingest);
    assert.equal(woken, 1);
    let atOnce = false;
    follower.wait(0, () => {
      atOnce = true;
    });
    assert.equal(atOnce, true);
    follower.close();
  });

  test("a failure wakes every follower with its reason", async () => {
    await using made = await make();
    const bytes = seededBytes(BIG);
    const ingest = await begin(made, bytes);
    const followers = [ingest.follow(nothing), ingest.follow(nothing)];
    const reading = followers.map((follower) => readToEnd(follower));
    for (const read of reading) read.catch(nothing);
    await writeAll(ingest, bytes.subarray(0, 100_000));
    const reason = new Failure("unreachable", "the upstream has gone");
    await ingest.fail(reason);
    for (const read of reading) await assert.rejects(read, (error) => error === reason);
    const late = ingest.follow(nothing);
    assert.equal(late.failure(), reason);
    let woken = false;
    late.wait(0, () => {
      woken = true;
    });
    assert.equal(woken, true);
    for (const follower of [...followers, late]) follower.close();
    ingest.close();
  });

  test("a follower that is closed is woken no more, and the others are", async () => {
    await using made = await make();
    const bytes = seededBytes(BIG);
    const ingest = await begin(made, bytes);
    const leaving = ingest.follow(nothing);
    const staying = ingest.follow(nothing);
    let woken = false;
    leaving.wait(0, () => {
      woken = true;
    });
    const reading = readToEnd(staying);
    leaving.close();
    await writeAll(ingest, bytes);
    await complete(ingest);
    assert.deepEqual(await reading, bytes);
    assert.equal(woken, false);
    staying.close();
  });

  test("closing a follower is told once, however often it is closed", async () => {
    await using made = await make();
    const ingest = await begin(made, seededBytes(1000));
    let told = 0;
    const follower = ingest.follow(() => {
      told += 1;
    });
    follower.close();
    follower.close();
    assert.equal(told, 1);
    await ingest.fail(new Error("over"));
    ingest.close();
    ingest.close();
  });

  test("a follower goes on reading when the ingest is closed and the blob removed", async () => {
    await using made = await make();
    const bytes = seededBytes(BIG);
    const ingest = await begin(made, bytes);
    const growing = ingest.follow(nothing);
    await writeAll(ingest, bytes);
    await complete(ingest);
    const stored = await made.store.open(digestOf(bytes));
    assert.ok(stored !== undefined);
    await made.store.remove(digestOf(bytes));
    assert.ok(await isAbsent(made.store, digestOf(bytes)));
    assert.deepEqual(await readToEnd(growing), bytes);
    assert.deepEqual(await readToEnd(stored), bytes);
    growing.close();
    stored.close();
  });

  test("whatever the chunks, followers see true bytes, short of the barrier until the end", async () => {
    await using made = await make();
    const shape = fc.record({
      size: fc.integer({ min: 1, max: 200 * KIB }),
      chunks: fc.array(fc.integer({ min: 0, max: 80 * KIB }), { minLength: 1, maxLength: 12 }),
      start: fc.nat(200 * KIB),
      seed: fc.integer({ min: 1, max: 1000 }),
    });
    await fc.assert(
      fc.asyncProperty(shape, async ({ size, chunks, start, seed }) => {
        const bytes = seededBytes(size, seed);
        const ingest = await begin(made, bytes);
        const from = Math.min(start, size - 1);
        const follower = ingest.follow(nothing);
        const reading = readToEnd(follower, from);
        for (let at = 0, turn = 0; at < size; turn += 1) {
          // At least one byte in each round, so that the rounds end.
          const length = Math.max(turn % chunks.length === 0 ? 1 : 0, chunks[turn % chunks.length] ?? 1);
          await writeAll(ingest, bytes.subarray(at, at + length));
          at = Math.min(size, at + length);
          assert.equal(ingest.receivedBytes, at);
          assert.ok(follower.visible() <= Math.max(0, Math.min(at, size - BARRIER_BYTES)));
        }
        await complete(ingest);
        assert.ok((await reading).equals(bytes.subarray(from)));
        follower.close();
        await made.store.remove(digestOf(bytes));
      }),
      { numRuns: 40 },
    );
  });
}

function describeResources(make: () => Promise<StoreUnderTest>): void {
  const skip = existsSync(DESCRIPTORS) ? false : "no /proc here";

  test("descriptors are released when all who use them have closed, and no sooner", { skip }, async () => {
    await using made = await make();
    const bytes = seededBytes(BIG);
    const ingest = await made.store.ingest(digestOf(bytes));
    ingest.declareSize(BIG);
    const growing = ingest.follow(nothing);
    await writeAll(ingest, bytes);
    await (await ingest.finish()).stored;
    ingest.close();
    const stored = await made.store.open(digestOf(bytes));
    assert.ok(stored !== undefined);
    await made.store.remove(digestOf(bytes));
    assert.deepEqual(await readToEnd(growing), bytes);
    growing.close();
    assert.deepEqual(await readToEnd(stored), bytes);
    stored.close();
    stored.close();
    await assertDescriptors(made.mark, 0);
  });

  test("a failed ingest holds no descriptor once it is closed, in the middle of a write as well", {
    skip,
  }, async () => {
    await using made = await make();
    const bytes = seededBytes(BIG);
    const ingest = await made.store.ingest(digestOf(bytes));
    ingest.declareSize(BIG);
    const follower = ingest.follow(nothing);
    ingest.write(bytes);
    const failing = ingest.fail(new Error("over"));
    ingest.close();
    await failing;
    assert.ok(descriptorsOf(made.mark) > 0);
    follower.close();
    await assertDescriptors(made.mark, 0);
  });

  test("a writer that is ahead of the disk is told to wait, and when to go on", async () => {
    await using made = await make();
    const chunk = seededBytes(1024 * KIB);
    const ingest = await made.store.ingest(digestOf(chunk));
    let more = true;
    let written = 0;
    while (more && written < 64) {
      more = ingest.write(chunk);
      written += 1;
    }
    assert.equal(more, false, "64 MiB wait for the disk and it asks for more");
    for (let round = 0; round < 3; round += 1) {
      await new Promise<void>((resolve) => ingest.onDrain(resolve));
      while (ingest.write(chunk)) written += 1;
      written += 1;
      assert.ok(written < 1000);
    }
    await new Promise<void>((resolve) => ingest.onDrain(resolve));
    await ingest.fail(new Error("enough"));
    ingest.close();
    assert.deepEqual(await made.leftovers(), []);
  });
}
