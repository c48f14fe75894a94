/** Pauses that an abort ends early. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { pause, systemClock } from "../../src/base/clock.ts";
import { ManualClock } from "../kit/clock.ts";

test("a pause ends when its time has come, and no sooner", async () => {
  const clock = new ManualClock();
  let over = false;
  const waiting = pause(clock, 1000).then(() => {
    over = true;
  });
  await clock.advance(999);
  assert.equal(over, false);
  await clock.advance(1);
  await waiting;
  assert.equal(over, true);
});

test("an abort ends a pause with its reason and leaves no timer", async () => {
  const clock = new ManualClock();
  const abort = new AbortController();
  const waiting = pause(clock, 1000, abort.signal);
  abort.abort(new Error("enough"));
  await assert.rejects(waiting, /enough/);
  assert.equal(clock.pending, 0);
});

test("a pause that is aborted before it begins sets no timer", async () => {
  const clock = new ManualClock();
  await assert.rejects(pause(clock, 1000, AbortSignal.abort(new Error("before"))), /before/);
  assert.equal(clock.pending, 0);
});

test("an abort after the pause is nobody's business", async () => {
  const clock = new ManualClock();
  const abort = new AbortController();
  const waiting = pause(clock, 5, abort.signal);
  await clock.advance(5);
  await waiting;
  abort.abort();
});

test("the system's clock calls back once, and not at all where it was cancelled", async () => {
  let calls = 0;
  const cancel = systemClock.after(0, () => {
    calls += 100;
  });
  cancel();
  await new Promise<void>((resolve) => {
    systemClock.after(0, () => {
      calls += 1;
      resolve();
    });
    // The clock's own timers never keep the process alive; this one does.
    setTimeout(() => {}, 50);
  });
  assert.equal(calls, 1);
  assert.ok(Math.abs(systemClock.now() - Date.now()) < 60_000);
});
