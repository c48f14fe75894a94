/** Turns: everyone gets theirs, and nobody keeps the event loop from others. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { setImmediate as nextRound } from "node:timers/promises";
import { Turns } from "../../src/http/turns.ts";

const MIB = 1024 * 1024;

/** Wants to move so many bytes, and takes as many as it may. */
function worker(turns: Turns, bytes: number) {
  const moved: number[] = [];
  let left = bytes;
  turns.want((limitBytes) => {
    const count = Math.min(left, limitBytes);
    left -= count;
    moved.push(count);
    return { bytes: count, again: left > 0 };
  });
  return { moved, left: () => left };
}

test("one round moves about two mebibytes, however many want to move more", async () => {
  const turns = new Turns();
  const workers = Array.from({ length: 32 }, () => worker(turns, 4 * MIB));
  let before = 0;
  for (let round = 0; round < 20; round += 1) {
    await nextRound();
    const now = workers.flatMap(({ moved }) => moved).reduce((sum, count) => sum + count, 0);
    assert.ok(now - before > 0 && now - before <= 3 * MIB, `${now - before} bytes in one round`);
    before = now;
  }
});

test("everyone gets the same, and all of it in the end", async () => {
  const turns = new Turns();
  const workers = Array.from({ length: 10 }, () => worker(turns, 2 * MIB));
  for (let round = 0; round < 5; round += 1) await nextRound();
  const progress = workers.map(({ left }) => left());
  assert.ok(Math.max(...progress) - Math.min(...progress) <= MIB, progress.join(" "));
  while (workers.some(({ left }) => left() > 0)) await nextRound();
});

test("who has done all asks for no more turns", async () => {
  const turns = new Turns();
  const { moved } = worker(turns, 100);
  for (let round = 0; round < 5; round += 1) await nextRound();
  assert.deepEqual(moved, [100]);
});
