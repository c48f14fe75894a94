/** The space of the store: asked for at most once a second, and left alone for while the disk rests. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Failure } from "../../src/base/failure.ts";
import { Capacity } from "../../src/mirror/capacity.ts";
import { DiskHealth } from "../../src/mirror/diskhealth.ts";
import { MemoryStore } from "../contracts/memory-store.ts";
import { ManualClock } from "../kit/clock.ts";
import { digest, withRooms } from "../meta/rooms.ts";
import { recorded } from "./parts.ts";

const some = { digest: digest("some"), upstream: "docker.io" };

async function withCapacity(
  work: (scene: {
    capacity: Capacity;
    clock: ManualClock;
    disk: { free: number | Error; asked: number };
    troubles: readonly { readonly message: string }[];
  }) => Promise<void>,
): Promise<void> {
  await withRooms(async ({ inventory }) => {
    const clock = new ManualClock();
    const disk: { free: number | Error; asked: number } = { free: 10_000, asked: 0 };
    const store = new MemoryStore();
    store.freeBytes = async () => {
      disk.asked += 1;
      if (typeof disk.free === "number") return disk.free;
      throw disk.free;
    };
    const { notices, facts } = recorded("storageTrouble");
    const limits = { maxBytes: 5000, minFreeBytes: 100 };
    const health = new DiskHealth({ clock, notices, probe: async () => {} });
    const capacity = new Capacity({ store, inventory, limits, health, clock, notices });
    await work({ capacity, clock, disk, troubles: facts });
  });
}

test("free space is looked at once a second, however often somebody asks", () =>
  withCapacity(async ({ capacity, clock, disk }) => {
    for (let round = 0; round < 5; round += 1) assert.equal(await capacity.findRefusal(10), undefined);
    assert.equal(disk.asked, 1);
    disk.free = 50;
    clock.jump(1001);
    assert.equal(await capacity.findRefusal(10), "disk-full");
    assert.equal(disk.asked, 2);
  }));

test("a refusal is told once, and again after it was lifted", () =>
  withCapacity(async ({ capacity, troubles }) => {
    for (const size of [6000, 6000, 10, 6000]) await capacity.findRefusal(size);
    assert.equal(troubles.length, 2);
    assert.match(troubles[0]?.message ?? "", /cache-full/);
  }));

test("while the disk rests nothing is stored, and nobody is told of it a second time", () =>
  withCapacity(async ({ capacity, disk, troubles }) => {
    disk.free = new Failure("storage", "gone");
    assert.equal(await capacity.findRefusal(10), "storage");
    disk.free = 10_000;
    assert.equal(await capacity.findRefusal(10), "storage", "it rests");
    assert.deepEqual(troubles, []);
  }));

test("a disk that cannot tell its free space stores nothing, and a bug is no refusal", () =>
  withCapacity(async ({ capacity, clock, disk }) => {
    disk.free = new Failure("storage", "gone");
    assert.equal(await capacity.findRefusal(10), "storage");
    disk.free = new TypeError("a bug");
    await clock.advance(5000);
    await assert.rejects(capacity.findRefusal(10), TypeError);
  }));

test("figures from before the clock was set back are not trusted until it has caught up", () =>
  withCapacity(async ({ capacity, clock, disk }) => {
    assert.equal(await capacity.findRefusal(10), undefined);
    disk.free = 50;
    clock.jump(-3_600_000);
    assert.equal(await capacity.findRefusal(10), "disk-full");
  }));

test("what running fills have reserved counts as taken, until they give it back; of unknown size, half of what is left", () =>
  withCapacity(async ({ capacity }) => {
    const first = await capacity.reserve(3000, some);
    assert.ok(typeof first === "object");
    assert.equal(await capacity.reserve(3000, some), "cache-full");
    const unknown = await capacity.reserve(undefined, some);
    assert.ok(typeof unknown === "object");
    assert.equal(unknown.limitBytes, 1000);
    first.release();
    first.release();
    assert.ok(typeof (await capacity.reserve(4000, some)) === "object");
    assert.equal(await capacity.reserve(2000, some), "cache-full");
  }));

test("where it cannot be told whether there is room, nothing is stored, nobody is failed, and it is told once", async () => {
  await withRooms(async ({ inventory }) => {
    const clock = new ManualClock();
    const { notices, facts } = recorded("storageTrouble");
    const index = { broken: true };
    const bytesOf = () => {
      if (index.broken) throw Object.assign(new Error("disk I/O error"), { code: "ERR_SQLITE_ERROR" });
      return 0;
    };
    const limits = { maxBytes: 5000, minFreeBytes: 100, shares: new Map([["docker.io", 1000]]) };
    const capacity = new Capacity({ store: new MemoryStore(), inventory, limits, clock, notices, bytesOf });
    assert.equal(await capacity.findRefusal(10, some), "storage");
    assert.equal(await capacity.reserve(10, some), "storage");
    assert.equal(facts.length, 1);
    index.broken = false;
    assert.equal(await capacity.findRefusal(10, some), undefined);
  });
});
