/** When the index is copied, and when not. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Backups } from "../../src/upkeep/backups.ts";
import { ManualClock } from "../kit/clock.ts";

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;

function stage() {
  const clock = new ManualClock();
  const stop = new AbortController();
  const told: string[] = [];
  const index = {
    writes: 0,
    damage: undefined as Error | undefined,
    made: 0,
    fails: undefined as Error | undefined,
    sizeBytes: () => 1000,
    async writeBackup(): Promise<void> {
      if (index.fails !== undefined) throw index.fails;
      index.made += 1;
    },
  };
  const disk = { freeBytes: 10_000 };
  const store = { freeBytes: async () => disk.freeBytes };
  const notices = { emit: (_kind: string, fact: unknown) => void told.push((fact as { what: string }).what) };
  const backups = new Backups({ index, store, minFreeBytes: 100, clock, notices, signal: stop.signal });
  return { clock, stop, told, index, disk, backups };
}

test("the first backup is made after some minutes, others every hour in which something was written", async () => {
  const { clock, index, backups } = stage();
  backups.start(true);
  await clock.advance(4 * MINUTE);
  assert.equal(index.made, 0);
  await clock.advance(MINUTE);
  assert.equal(index.made, 1);
  await clock.advance(5 * HOUR);
  assert.equal(index.made, 1, "nothing changed");
  index.writes += 1;
  await clock.advance(HOUR);
  assert.equal(index.made, 2);
  await clock.advance(3 * HOUR);
  assert.equal(index.made, 2);
});

test("where there is a backup, a start alone is no reason for another", async () => {
  const { clock, index, backups } = stage();
  backups.start(false);
  await clock.advance(3 * HOUR);
  assert.equal(index.made, 0);
});

test("a damaged index is not copied", async () => {
  const { clock, index, backups, told } = stage();
  backups.start(true);
  index.damage = new Error("malformed");
  await clock.advance(3 * HOUR);
  assert.deepEqual([index.made, told], [0, []]);
});

test("a backup that fails is told once, tried again, and told again after one that was made", async () => {
  const { clock, index, backups, told } = stage();
  backups.start(true);
  index.fails = new Error("disk I/O error");
  await clock.advance(3 * HOUR);
  assert.deepEqual(told, ["a backup of the index: disk I/O error"]);
  index.fails = undefined;
  await clock.advance(HOUR);
  assert.equal(index.made, 1);
  index.fails = new Error("disk I/O error");
  index.writes += 1;
  await clock.advance(2 * HOUR);
  assert.equal(told.length, 2);
});

test("a backup never takes the room that is to stay free", async () => {
  const { clock, index, backups, told, disk } = stage();
  backups.start(true);
  disk.freeBytes = 1099;
  await clock.advance(2 * HOUR);
  assert.equal(index.made, 0);
  assert.match(told.join(), /no room for its 1000 bytes/);
  disk.freeBytes = 1100;
  await clock.advance(HOUR);
  assert.equal(index.made, 1);
});

test("a stop leaves no timer and waits for what runs", async () => {
  const { clock, index, backups, stop } = stage();
  const gate = Promise.withResolvers<void>();
  index.writeBackup = () => gate.promise;
  backups.start(true);
  await clock.advance(5 * MINUTE);
  stop.abort(new Error("stopping"));
  let stopped = false;
  const stopping = backups.stop().then(() => {
    stopped = true;
  });
  await clock.advance(MINUTE);
  assert.equal(stopped, false);
  gate.reject(new Error("stopping"));
  await stopping;
  assert.equal(clock.pending, 0);
});
