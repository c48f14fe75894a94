/** Requests per second: never more than allowed, shared like slots, and no timer where nobody waits. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { isFailure } from "../../../src/base/failure.ts";
import type { Standing } from "../../../src/upstream/limits/fairqueue.ts";
import { Rate } from "../../../src/upstream/limits/rate.ts";
import { ManualClock } from "../../kit/clock.ts";

const never = new AbortController().signal;

function open(perSecond: number) {
  const clock = new ManualClock();
  const start = clock.now();
  const rate = new Rate(perSecond, { upstream: "reg.test", clock });
  /** Who went, and when. */
  const went: [string, number][] = [];
  const take = async (name: string, standing?: Standing, signal = never) => {
    await rate.take(signal, standing);
    went.push([name, clock.now() - start]);
  };
  return { clock, rate, went, take };
}

test("a burst goes at once, the others when a token is there for each", async () => {
  const { clock, rate, went, take } = open(4);
  for (let at = 1; at <= 7; at += 1) void take(`${at}`);
  await clock.advance(0);
  assert.deepEqual(
    went.map(([name]) => name),
    ["1", "2", "3", "4"],
  );
  await clock.advance(750);
  assert.deepEqual(went.slice(4), [
    ["5", 250],
    ["6", 500],
    ["7", 750],
  ]);
  assert.deepEqual([rate.waiting, clock.pending], [0, 0]);
});

test("one request in two seconds is a rate as well", async () => {
  const { clock, went, take } = open(0.5);
  for (let at = 1; at <= 3; at += 1) void take(`${at}`);
  await clock.advance(10_000);
  assert.deepEqual(went, [
    ["1", 0],
    ["2", 2000],
    ["3", 4000],
  ]);
});

test("misses go before refreshes, and repositories take turns", async () => {
  const { clock, went, take } = open(1);
  void take("first");
  void take("refresh", { urgency: "refresh" });
  for (const name of ["a1", "a2", "b1"]) void take(name, { key: name[0] });
  await clock.advance(9000);
  assert.deepEqual(
    went.map(([name]) => name),
    ["first", "a1", "b1", "a2", "refresh"],
  );
});

test("no more wait than have their turn in 15 s; the next is told when", async () => {
  const { clock, rate, take } = open(2);
  for (let at = 0; at < 32; at += 1) void take(`${at}`);
  assert.equal(rate.waiting, 30);
  await assert.rejects(take("too many"), (error) => {
    assert.ok(isFailure(error, "overloaded"));
    assert.match(error.message, /upstreams\.reg\.test\.limits\.requestsPerSecond/);
    assert.equal(error.retryAfterMs, 15_500);
    return true;
  });
  await clock.advance(15_000);
  assert.deepEqual([rate.waiting, clock.pending], [0, 0]);
});

test("who leaves costs no token, and the last who leaves no timer", async () => {
  const { clock, rate, went, take } = open(1);
  await take("first");
  const leaving = new AbortController();
  const left = take("left", {}, leaving.signal);
  leaving.abort(new Error("enough"));
  await assert.rejects(left, /enough/);
  assert.deepEqual([rate.waiting, clock.pending], [0, 0]);
  void take("second");
  await clock.advance(1000);
  assert.deepEqual(went.at(-1), ["second", 1000]);
});

test("an end refuses who waits and who comes, and leaves no timer", async () => {
  const { clock, rate, take } = open(1);
  await take("first");
  const waiting = take("waiting");
  rate.close();
  await assert.rejects(waiting, (error) => isFailure(error, "overloaded"));
  await assert.rejects(take("late"), (error) => isFailure(error, "overloaded"));
  assert.equal(clock.pending, 0);
});

test("a clock that is set back stops nothing for ever and brings nothing", async () => {
  const { clock, went, take } = open(1);
  await take("first");
  clock.jump(-3_600_000);
  void take("second");
  await clock.advance(1000);
  assert.equal(went.length, 2);
});

test("in no time span do more go than the rate and one burst allow", async () => {
  const arrivals = fc.array(fc.record({ afterMs: fc.nat(700), count: fc.integer({ min: 1, max: 6 }) }), {
    minLength: 1,
    maxLength: 12,
  });
  const rates = fc.constantFrom(0.5, 1, 2.5, 7);
  await fc.assert(
    fc.asyncProperty(arrivals, rates, async (groups, perSecond) => {
      const { clock, rate, went, take } = open(perSecond);
      for (const { afterMs, count } of groups) {
        await clock.advance(afterMs);
        for (let at = 0; at < count; at += 1) take("x").catch(() => {});
      }
      await clock.advance(200_000);
      assert.deepEqual([rate.waiting, clock.pending], [0, 0]);
      const times = went.map(([, at]) => at);
      for (let from = 0; from < times.length; from += 1) {
        for (let to = from; to < times.length; to += 1) {
          const spanMs = (times[to] ?? 0) - (times[from] ?? 0);
          const allowed = Math.max(1, perSecond) + (spanMs * perSecond) / 1000;
          assert.ok(to - from + 1 <= allowed + 1e-3, `${to - from + 1} in ${spanMs} ms`);
        }
      }
    }),
    { numRuns: 40 },
  );
});

test("what follows from a request that had its turn waits for none, and those to come wait for it", async () => {
  const clock = new ManualClock();
  const rate = new Rate(1, { upstream: "reg.test", clock });
  await rate.take(never);
  rate.charge();
  let taken = false;
  const next = rate.take(never).then(() => {
    taken = true;
  });
  await clock.advance(1900);
  assert.equal(taken, false);
  await clock.advance(200);
  await next;
  assert.equal(clock.pending, 0);
});

test("what follows from one question is paid for by those to come, also where it is more than a burst", async () => {
  const clock = new ManualClock();
  const rate = new Rate(1, { upstream: "reg.test", clock });
  await rate.take(never);
  for (let hop = 0; hop < 5; hop++) rate.charge();
  let taken = false;
  const next = rate.take(never).then(() => {
    taken = true;
  });
  await clock.advance(5900);
  assert.equal(taken, false);
  await clock.advance(200);
  await next;
});
