import assert from "node:assert/strict";
import { test } from "node:test";
import { Notices } from "../../src/base/notices.ts";
import { nextAfter } from "../../src/config/cron.ts";
import type { MirrorNotices } from "../../src/mirror/notices.ts";
import { type Job, Schedule } from "../../src/upkeep/schedule.ts";
import { WallClock } from "../kit/wallclock.ts";

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;
/** A Thursday, noon by the machine's clock. */
const NOON = new Date(2026, 0, 1, 12).getTime();
const SUNDAY_3 = new Date(2026, 0, 4, 3).getTime();

interface Scene {
  readonly clock: WallClock;
  readonly notices: Notices<MirrorNotices>;
  /** When it was begun, each time. */
  readonly runs: number[];
  readonly schedule: Schedule;
}

function scene(over: Partial<Job> = {}, startAt = NOON): Scene {
  const clock = new WallClock(startAt);
  const notices = new Notices<MirrorNotices>();
  const runs: number[] = [];
  const job: Job = {
    name: "the job",
    cron: "0 3 * * 0",
    run: async () => {
      runs.push(clock.now());
    },
    ...over,
  };
  const schedule = new Schedule(job, { clock, notices });
  schedule.start();
  return { clock, notices, runs, schedule };
}

test("a job runs when its expression comes due, by local time, and again the next time", async () => {
  const { clock, runs, schedule } = scene();
  assert.equal(schedule.nextAt, SUNDAY_3);
  await clock.advance(SUNDAY_3 - NOON - 1);
  assert.deepEqual(runs, []);
  await clock.advance(1);
  assert.deepEqual(runs, [SUNDAY_3]);
  await clock.advance(7 * DAY);
  assert.equal(runs.length, 2);
  assert.equal(runs[1], nextAfter("0 3 * * 0", SUNDAY_3));
  await schedule.stop();
  assert.equal(clock.pending, 0);
});

test("a job without an expression is never done by itself, and keeps no timer", async () => {
  const { clock, runs, schedule } = scene({ cron: null });
  assert.equal(clock.pending, 0);
  assert.equal(schedule.nextAt, undefined);
  await clock.advance(30 * DAY);
  assert.deepEqual(runs, []);
  await schedule.stop();
});

test("no wait is longer than a minute", async () => {
  const { clock, schedule } = scene();
  assert.equal(clock.nextInMs, MINUTE);
  await schedule.stop();
});

test("a job never overlaps itself; what came due meanwhile is not made up for", async () => {
  const gate = Promise.withResolvers<void>();
  const begun: number[] = [];
  const { clock, schedule } = scene({
    cron: "* * * * *",
    run: async () => {
      begun.push(clock.now());
      if (begun.length === 1) await gate.promise;
    },
  });
  await clock.advance(10 * MINUTE);
  assert.equal(begun.length, 1);
  assert.ok(schedule.isRunning);
  gate.resolve();
  await clock.advance(0);
  assert.equal(begun.length, 1);
  await clock.advance(MINUTE);
  assert.equal(begun.length, 2);
  await schedule.stop();
});

test("stop aborts a run, waits for its end, and tells nobody of a failure", async () => {
  const ended = Promise.withResolvers<void>();
  let aborted = false;
  const { clock, notices, schedule } = scene({
    cron: "* * * * *",
    run: async (signal) => {
      await new Promise<void>((resolve) => signal.addEventListener("abort", () => resolve()));
      aborted = true;
      await ended.promise;
      throw signal.reason;
    },
  });
  const told: unknown[] = [];
  notices.on("backgroundFailed", (fact) => told.push(fact));
  await clock.advance(MINUTE);
  let stopped = false;
  const stopping = schedule.stop().then(() => {
    stopped = true;
  });
  await clock.advance(0);
  assert.ok(aborted);
  assert.equal(stopped, false);
  ended.resolve();
  await stopping;
  assert.equal(clock.pending, 0);
  assert.deepEqual(told, []);
});

test("a run that fails is told of, and the next one comes", async () => {
  const { clock, notices, schedule } = scene({
    cron: "* * * * *",
    run: async () => {
      throw new Error("no luck");
    },
  });
  const told: string[] = [];
  notices.on("backgroundFailed", ({ what, cause }) => told.push(`${what}: ${String(cause)}`));
  await clock.advance(2 * MINUTE);
  assert.deepEqual(told, ["the job: Error: no luck", "the job: Error: no luck"]);
  await schedule.stop();
});

test("a machine that slept over the time does it late, once, within a minute of waking", async () => {
  const { clock, runs, schedule } = scene();
  clock.set(20 * DAY);
  await clock.advance(MINUTE);
  assert.equal(runs.length, 1);
  await clock.advance(HOUR);
  assert.equal(runs.length, 1);
  await schedule.stop();
});

test("what an earlier process did not get to is made up for, once", async () => {
  const late = scene({ lastRunAt: NOON - 10 * DAY });
  await late.clock.advance(0);
  assert.equal(late.runs.length, 1);
  assert.equal(late.schedule.nextAt, nextAfter("0 3 * * 0", SUNDAY_3), "the Sunday just ahead has had its run");
  await late.schedule.stop();

  const done = scene({ lastRunAt: NOON - DAY });
  await done.clock.advance(HOUR);
  assert.equal(done.runs.length, 0);
  await done.schedule.stop();

  const wrong = scene({ lastRunAt: NOON + 3650 * DAY });
  assert.equal(wrong.schedule.nextAt, SUNDAY_3);
  await wrong.schedule.stop();
});

test("a clock that is set back over the time of a run does not run it twice", async () => {
  const { clock, runs, schedule } = scene();
  await clock.advance(SUNDAY_3 - NOON + 5 * MINUTE);
  assert.equal(runs.length, 1);
  clock.set(-10 * MINUTE);
  await clock.advance(DAY);
  assert.equal(runs.length, 1);
  await clock.advance(7 * DAY);
  assert.equal(runs.length, 2);
  await schedule.stop();
});

test("a clock that was years ahead when the job ran, and is set right, does not keep it from running", async () => {
  const { clock, runs, schedule } = scene();
  clock.set(3650 * DAY);
  await clock.advance(HOUR);
  assert.equal(runs.length, 1);
  clock.set(-3650 * DAY);
  await clock.advance(4 * DAY);
  assert.equal(runs.length, 1, "not in the same week as the run before");
  await clock.advance(10 * DAY);
  assert.equal(runs.length, 2);
  await schedule.stop();
});

test("a clock that was years ahead at the start, before any run, loses no turn", async () => {
  const { clock, runs, schedule } = scene({}, NOON + 3650 * DAY);
  clock.set(-3650 * DAY);
  await clock.advance(SUNDAY_3 - NOON);
  assert.deepEqual(runs, [SUNDAY_3]);
  await schedule.stop();
});

test("a clock that jumps forth, back and forth again runs the job once", async () => {
  const { clock, runs, schedule } = scene();
  clock.set(10 * DAY);
  await clock.advance(MINUTE);
  assert.equal(runs.length, 1);
  clock.set(-10 * DAY);
  await clock.advance(MINUTE);
  clock.set(10 * DAY);
  await clock.advance(HOUR);
  assert.equal(runs.length, 1);
  await schedule.stop();
});

test("however a clock jumps, a daily job runs at least every third day and never twice within hours", async () => {
  // A fixed sequence, so that a failure can be looked at again.
  let seed = 20_260_101;
  const random = () => {
    seed = (seed * 1_103_515_245 + 12_345) % 2 ** 31;
    return seed / 2 ** 31;
  };
  const began: number[] = [];
  let elapsed = 0;
  const { clock, schedule } = scene({
    cron: "0 3 * * *",
    run: async () => {
      began.push(elapsed);
    },
  });
  for (let step = 0; step < 250; step += 1) {
    // NTP steps of some minutes, mostly; a lost battery now and then.
    if (random() < 0.5) clock.set(Math.round((random() - 0.5) * 40 * MINUTE));
    if (step % 100 === 50) clock.set((random() < 0.5 ? 1 : -1) * 400 * DAY);
    for (let hour = 0; hour < 3; hour += 1) {
      await clock.advance(HOUR);
      elapsed += HOUR;
    }
  }
  await schedule.stop();
  const gaps = began.map((at, index) => at - (began[index - 1] ?? 0));
  assert.ok(Math.max(...gaps) <= 3 * DAY, `${Math.max(...gaps) / HOUR} hours without a run`);
  assert.ok(Math.min(...gaps.slice(1)) > HOUR, `${Math.min(...gaps.slice(1)) / HOUR} hours between two runs`);
});
