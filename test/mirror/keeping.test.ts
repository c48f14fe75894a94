/** What is kept of fills: how far it is noted, how long it stays, and how much of it. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Failure } from "../../src/base/failure.ts";
import { Partials } from "../../src/meta/partials.ts";
import { Capacity } from "../../src/mirror/capacity.ts";
import { KEPT_MS } from "../../src/mirror/fillpolicy.ts";
import { Keeping } from "../../src/mirror/keeping.ts";
import { digestOf } from "../../src/oci/digest.ts";
import type { Ingest } from "../../src/store/blobstore.ts";
import { MemoryStore } from "../contracts/memory-store.ts";
import { pourInto } from "../contracts/writing.ts";
import { ManualClock } from "../kit/clock.ts";
import { seededBytes } from "../kit/content.ts";
import { place, type Rooms, withRooms } from "../meta/rooms.ts";
import { recorded } from "./parts.ts";

const MIB = 1024 * 1024;
const SIZE = 4 * MIB;
const app = place("docker.io", "library/app");
const cut = new Failure("unreachable", "cut");

async function withScene(
  work: (scene: Awaited<ReturnType<typeof makeScene>>) => Promise<void>,
  maxBytes?: number,
): Promise<void> {
  await withRooms(async (rooms) => {
    const scene = makeScene(rooms, maxBytes);
    await work(scene);
    assert.equal(scene.clock.pending, 0, "timers are left");
    scene.store.clear();
  });
}

function makeScene({ database, repositories }: Rooms, maxBytes?: number) {
  const store = new MemoryStore();
  const clock = new ManualClock();
  const partials = new Partials(database, repositories, "boot");
  const { notices, facts: troubles } = recorded("storageTrouble");
  const open = () => new Keeping({ partials, store, maxBytes, clock, notices });
  const keeping = open();
  return {
    ...{ store, clock, partials, troubles, keeping, open, database },
    /** A fill that has received so much. */
    async begin(seed: number, bytes: number, sizeBytes = SIZE): Promise<Ingest> {
      const ingest = await store.ingest(digestOf(Buffer.from(`${seed}`)));
      ingest.declareSize(sizeBytes);
      keeping.begin(app, ingest, false);
      await grow(ingest, bytes);
      return ingest;
    },
    async suspend(ingest: Ingest): Promise<void> {
      await keeping.suspend(app, ingest, cut);
      ingest.close();
    },
  };
}

async function grow(ingest: Ingest, bytes: number): Promise<void> {
  const lane = ingest.lane(ingest.receivedBytes);
  await pourInto(lane, seededBytes(bytes));
  lane.close();
  while (ingest.written().writtenBytes < ingest.receivedBytes) await new Promise((then) => setImmediate(then));
}

test("what grows is noted with every mebibyte at once, and otherwise four times a second", () =>
  withScene(async ({ begin, clock, partials, keeping }) => {
    const ingest = await begin(1, MIB - 1);
    const noted = () => partials.find(ingest.digest)?.prefixBytes;
    await clock.advance(1000);
    assert.equal(noted(), undefined, "too little to be worth it");
    await grow(ingest, 1);
    await clock.advance(50);
    assert.equal(noted(), MIB);
    await grow(ingest, 1000);
    await clock.advance(150);
    assert.equal(noted(), MIB);
    await clock.advance(100);
    assert.equal(noted(), MIB + 1000);
    await grow(ingest, MIB);
    await clock.advance(50);
    assert.equal(noted(), 2 * MIB + 1000);
    await ingest.fail(cut);
    keeping.end(ingest);
    ingest.close();
    assert.deepEqual(partials.list(), []);
  }));

test("what comes in a burst is noted as it grows, be there no turn for a timer", () =>
  withScene(async ({ begin, partials, keeping, database }) => {
    const ingest = await begin(1, 0, 8 * MIB);
    const noted = () => partials.find(ingest.digest)?.prefixBytes ?? 0;
    for (let bytes = 1; bytes <= 6; bytes += 1) {
      await grow(ingest, MIB);
      assert.equal(noted(), bytes * MIB);
    }
    // Nor does it try again and again where it cannot be noted.
    database.exec("DROP TABLE partials");
    await grow(ingest, 1.5 * MIB);
    await ingest.fail(cut);
    keeping.end(ingest);
    ingest.close();
  }));

test("small blobs are nobody's concern", () =>
  withScene(async ({ begin, clock, keeping, partials }) => {
    const ingest = await begin(1, 1000, MIB - 1);
    assert.equal(clock.pending, 0);
    await keeping.suspend(app, ingest, cut);
    ingest.close();
    assert.deepEqual([partials.list(), keeping.bytes], [[], 0]);
  }));

test("what is suspended is found by the next life, and taken once; its last byte is left to be asked for", () =>
  withScene(async ({ begin, suspend, store, open, keeping }) => {
    const ingest = await begin(1, SIZE);
    await suspend(ingest);
    assert.equal(keeping.bytes, SIZE);
    const next = open();
    assert.ok(next.has(ingest.digest));
    const taken = next.take(ingest.digest);
    assert.deepEqual([taken?.file, taken?.place, taken?.prefixBytes], [ingest.file, app, SIZE - 1]);
    assert.deepEqual([next.take(ingest.digest), next.bytes], [undefined, 0]);
    const again = await store.ingest(ingest.digest, taken);
    next.begin(app, again, true);
    await again.fail(cut);
    next.end(again);
    again.close();
    assert.deepEqual([open().list(), await store.partials()], [[], []]);
  }));

test("what nobody asked for within a day is removed", () =>
  withScene(async ({ begin, suspend, clock, keeping, store, partials }) => {
    await suspend(await begin(1, 2 * MIB));
    await clock.advance(KEPT_MS / 2);
    await suspend(await begin(2, 2 * MIB));
    await clock.advance(KEPT_MS / 2);
    await keeping.trim();
    assert.equal(keeping.list().length, 2);
    await clock.advance(1);
    await keeping.trim();
    assert.deepEqual([keeping.list().length, partials.list().length, (await store.partials()).length], [1, 1, 1]);
  }));

test("a clock that is set back takes nothing away, and keeps nothing for ever", () =>
  withScene(async ({ begin, suspend, clock, keeping }) => {
    await suspend(await begin(1, 2 * MIB));
    clock.jump(-100 * KEPT_MS);
    await keeping.trim();
    assert.equal(keeping.list().length, 1);
    clock.jump(KEPT_MS + 1);
    await keeping.trim();
    assert.deepEqual(keeping.list(), []);
  }));

test("of more than a quarter of the store the oldest goes", () =>
  withScene(async ({ begin, suspend, clock, keeping, store }) => {
    const digests: string[] = [];
    for (const seed of [1, 2, 3]) {
      const ingest = await begin(seed, 2 * MIB);
      digests.push(ingest.digest);
      await suspend(ingest);
      await clock.advance(10);
    }
    assert.deepEqual(
      keeping.list().map(({ digest }) => digest),
      digests.slice(1),
    );
    assert.deepEqual([keeping.bytes, (await store.partials()).length], [4 * MIB, 2]);
  }, 16 * MIB));

test("room is made by removing the oldest first, and no more than is wanted", () =>
  withScene(async ({ begin, suspend, keeping, store }) => {
    for (const seed of [1, 2, 3]) await suspend(await begin(seed, 2 * MIB));
    assert.equal(await keeping.makeRoom(3 * MIB), 4 * MIB);
    assert.deepEqual([keeping.bytes, (await store.partials()).length], [2 * MIB, 1]);
    assert.equal(await keeping.makeRoom(100 * MIB), 2 * MIB);
    assert.equal(await keeping.makeRoom(1), 0);
  }));

test("an index that takes no notes is told of once, and what could not be noted is not kept", () =>
  withScene(async ({ begin, suspend, clock, store, keeping, database, troubles }) => {
    const ingest = await begin(1, 2 * MIB);
    database.exec("DROP TABLE partials");
    await clock.advance(1000);
    await grow(ingest, 1000);
    await clock.advance(1000);
    await suspend(ingest);
    assert.deepEqual([troubles.length, keeping.bytes, await store.partials()], [1, 0, []]);
  }));

test("what is kept takes room, and leaves before anything else where somebody wants it, as far as that helps", () =>
  withRooms(async ({ inventory }) => {
    const clock = new ManualClock();
    const store = new MemoryStore();
    const { notices } = recorded("storageTrouble");
    const wanted: number[] = [];
    const keeping = {
      bytes: 3000,
      takenBytes: () => 0,
      settle: () => {},
      async makeRoom(bytes: number) {
        wanted.push(bytes);
        this.bytes -= 1500;
        return 1500;
      },
    };
    const limits = { maxBytes: 5000, minFreeBytes: 0 };
    const capacity = new Capacity({ store, inventory, limits, clock, notices, keeping });
    const newcomer = { digest: digestOf(Buffer.from("new")), upstream: "docker.io" };
    assert.equal(capacity.state().storedBytes, 3000);
    assert.equal(typeof (await capacity.reserve(2000, newcomer)), "object");
    assert.equal(await capacity.reserve(6000, newcomer), "cache-full");
    assert.deepEqual(wanted, [], "nothing leaves for what has no room anyway");
    assert.equal(typeof (await capacity.reserve(1000, newcomer)), "object");
    assert.deepEqual(wanted, [1000]);
  }));

test("what is taken up counts while its upstream is asked, once where it has room, and again where nothing comes of it", () =>
  withScene(async ({ begin, suspend, keeping, store, clock }) => {
    await withRooms(async ({ inventory }) => {
      const ingest = await begin(1, 3 * MIB);
      const { digest } = ingest;
      await suspend(ingest);
      const { notices } = recorded("storageTrouble");
      const limits = { maxBytes: 6 * MIB, minFreeBytes: 0 };
      const capacity = new Capacity({ store, inventory, limits, clock, notices, keeping });
      const newcomer = { digest, upstream: "docker.io" };
      const other = { digest: digestOf(Buffer.from("other")), upstream: "docker.io" };
      const kept = keeping.take(digest);
      assert.ok(kept !== undefined);
      assert.deepEqual([keeping.bytes, capacity.state().storedBytes], [0, 3 * MIB]);
      assert.equal(await capacity.reserve(4 * MIB, other), "cache-full");
      const room = await capacity.reserve(6 * MIB, newcomer);
      assert.ok(typeof room === "object");
      assert.equal(capacity.state().storedBytes, 6 * MIB);
      room.release();
      assert.equal(capacity.state().storedBytes, 0);
      keeping.giveBack(kept);
      assert.equal(capacity.state().storedBytes, 3 * MIB);
      assert.ok(keeping.take(digest) !== undefined);
      keeping.lost(kept);
      assert.equal(capacity.state().storedBytes, 0);
    });
  }));
