/** Uses are written down some seconds after the first of them, and at the end; without uses nothing is done. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { UseWriter } from "../../src/upkeep/use-writer.ts";
import { ManualClock } from "../kit/clock.ts";
import { recorded } from "../mirror/parts.ts";

function scene() {
  const clock = new ManualClock();
  const { notices, facts: troubles } = recorded("storageTrouble");
  const usage = { slices: 0, flushed: 0, broken: false, noted: () => {} };
  const writer = new UseWriter({
    clock,
    notices,
    usage: {
      whenNoted: (callback) => {
        usage.noted = callback;
      },
      flush: () => {
        if (usage.broken) throw new Error("full");
        usage.flushed += 1;
        usage.slices -= 1;
        return usage.slices > 0;
      },
    },
  });
  return { clock, usage, writer, troubles };
}

test("without uses there is no timer; the first of many sets one, and all is written in slices", async () => {
  const { clock, usage, writer } = scene();
  writer.start();
  assert.equal(clock.pending, 0);
  usage.noted();
  usage.noted();
  assert.equal(clock.pending, 1);
  usage.slices = 3;
  await clock.advance(5000);
  for (let turn = 0; turn < 5; turn += 1) await new Promise((resolve) => setImmediate(resolve));
  assert.equal(usage.flushed, 3);
  assert.equal(clock.pending, 0);
});

test("what could not be written is told, and tried again", async () => {
  const { clock, usage, writer, troubles } = scene();
  writer.start();
  usage.noted();
  usage.broken = true;
  await clock.advance(5000);
  assert.equal(troubles.length, 1);
  usage.broken = false;
  await clock.advance(5000);
  assert.equal(usage.flushed, 1);
});

test("at the end all is written, and no timer is left", async () => {
  const { clock, usage, writer } = scene();
  writer.start();
  usage.noted();
  usage.slices = 2;
  await writer.stop();
  assert.equal(usage.flushed, 2);
  assert.equal(clock.pending, 0);
  usage.noted();
  assert.equal(clock.pending, 0);
});
