/** What a fill does after a break: how long it waits for whom, and when it gives up. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { Failure, type FailureKind, type FailureOptions } from "../../src/base/failure.ts";
import { type BrokenPiece, judgeBreak, planBroken, planResumption } from "../../src/mirror/resumption.ts";

const failure = (kind: FailureKind, options: FailureOptions = {}) => new Failure(kind, "broken", options);

/** A break of somebody's blob just now, which the request that broke had brought some of. */
function after(error: unknown, more: Partial<BrokenPiece> = {}, answered = false): BrokenPiece {
  return {
    error,
    kind: judgeBreak(error, answered),
    receivedBytes: 1,
    fruitless: 0,
    waits: 0,
    sinceMs: 0,
    awaited: true,
    random: 0.999999,
    gainedBytes: 0,
    alone: true,
    ...more,
  };
}

/** All the waits until it is given up. */
function waitsAfter(error: unknown, more: Partial<BrokenPiece> = {}): number[] {
  const waits: number[] = [];
  for (let sinceMs = 0; waits.length < 1000; ) {
    const wait = planResumption(after(error, { ...more, sinceMs, waits: waits.length }));
    if (wait === undefined) break;
    waits.push(wait);
    sinceMs += wait;
  }
  return waits;
}

const sum = (all: readonly number[]) => all.reduce((a, b) => a + b, 0);

test("a body that is cut is taken up again after waits that grow, and given up after three that brought nothing", () => {
  const delays = [0, 1, 2, 3, 4].map((fruitless) =>
    planResumption(after(failure("unreachable"), { fruitless, sinceMs: 1_000_000 }, true)),
  );
  assert.deepEqual(delays, [100, 400, 1600, undefined, undefined]);
});

test("an upstream that is away is asked for half a minute, at least every two seconds", () => {
  const waits = waitsAfter(failure("unreachable", { timedOut: true }));
  assert.deepEqual(waits.slice(0, 7), [100, 200, 400, 800, 1600, 2000, 2000]);
  assert.ok(sum(waits) > 28_000 && sum(waits) <= 30_000);
});

test("where nobody waits any more, it is asked for five seconds", () => {
  const total = sum(waitsAfter(failure("unreachable"), { awaited: false }));
  assert.ok(total > 3000 && total <= 5000);
});

test("an open circuit says when it makes sense to ask again; where that is too late, it may be closed by others before", () => {
  const open = failure("unreachable", { retryAfterMs: 8000 });
  assert.equal(planResumption(after(open, { random: 0 })), 8000);
  assert.equal(planResumption(after(open, { sinceMs: 22_001, waits: 9 })), 2000);
  assert.equal(planResumption(after(open, { sinceMs: 28_001, waits: 9 })), undefined);
});

test("an upstream that has no time for us is asked when it says, if that is soon enough, and else ever less often", () => {
  for (const [kind, upstreamStatus] of [
    ["unreachable", 503],
    ["limited", 429],
  ] as const) {
    const soon = failure(kind, { upstreamStatus, retryAfterMs: 12_000 });
    assert.equal(planResumption(after(soon, { random: 0 })), 12_000);
    const late = failure(kind, { upstreamStatus, retryAfterMs: 31_000 });
    assert.equal(planResumption(after(late)), undefined);
    assert.ok(waitsAfter(failure(kind, { upstreamStatus, retryAfterMs: 0 })).length < 12, "zero is no invitation");
  }
  assert.deepEqual(
    waitsAfter(failure("unreachable", { upstreamStatus: 500 })).slice(0, 6),
    [250, 500, 1000, 2000, 4000, 4000],
  );
  assert.deepEqual(waitsAfter(failure("limited", { upstreamStatus: 429 })), [1000, 2000, 4000, 8000, 8000]);
  assert.deepEqual(waitsAfter(failure("overloaded", { retryAfterMs: 7000 }), { random: 0 }), [7000, 7000, 7000, 7000]);
});

test("other answers than bytes are asked for three times, and what cannot change not at all", () => {
  for (const upstreamStatus of [401, 403, 404, 307]) {
    assert.equal(judgeBreak(failure("unreachable", { upstreamStatus }), false), "cut", String(upstreamStatus));
  }
  for (const kind of ["corrupt", "storage", "refused", "denied", "invalid"] as const) {
    for (const answered of [true, false]) assert.equal(planResumption(after(failure(kind), {}, answered)), undefined);
  }
  for (const error of [new Error("a bug"), undefined]) assert.equal(planResumption(after(error)), undefined);
});

test("a fill that has received nothing is not taken up again", () => {
  for (const kind of ["unreachable", "limited", "overloaded"] as const) {
    assert.equal(planResumption(after(failure(kind), { receivedBytes: 0 })), undefined);
    assert.equal(planBroken(after(failure(kind), { receivedBytes: 0, alone: false })), undefined);
  }
});

test("a broken piece is left to others only where others bring something and it brought nothing", () => {
  const refused: readonly Failure[] = [
    failure("limited", { upstreamStatus: 429 }),
    failure("unreachable"),
    failure("unreachable", { upstreamStatus: 503 }),
    failure("corrupt", { upstreamStatus: 416 }),
    failure("overloaded"),
  ];
  for (const error of refused) assert.equal(planBroken(after(error, { alone: false })), "leave");
  assert.equal(planBroken(after(failure("unreachable"), { alone: false, gainedBytes: 1 }, true)), 100);
  assert.equal(planBroken(after(failure("unreachable"), { waits: 1 })), 200);
  for (const kind of ["corrupt", "storage"] as const) {
    assert.equal(planBroken(after(failure(kind), { alone: false })), undefined);
  }
  assert.equal(planBroken(after(failure("corrupt", { upstreamStatus: 416 }))), undefined);
  assert.equal(planBroken(after(failure("unreachable"), { alone: false, fruitless: 4 }, true)), undefined);
});

test("whatever happens, no wait is negative or goes beyond the half minute, and chance only shortens what is ours to choose", () => {
  const options = fc.record({
    upstreamStatus: fc.constantFrom(undefined, 500, 503),
    retryAfterMs: fc.option(fc.nat(60_000), { nil: undefined }),
  });
  const situation = fc.record({
    kind: fc.constantFrom("unreachable", "limited", "overloaded"),
    waits: fc.nat(2000),
    sinceMs: fc.nat(60_000),
    random: fc.double({ min: 0, max: 0.999, noNaN: true }),
  });
  fc.assert(
    fc.property(situation, options, ({ kind, waits, sinceMs, random }, { upstreamStatus, retryAfterMs }) => {
      const error = failure(kind, {
        ...(upstreamStatus === undefined ? {} : { upstreamStatus }),
        ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
      });
      const wait = planResumption(after(error, { waits, sinceMs, random }));
      if (wait === undefined) return;
      assert.ok(wait >= 50 && sinceMs + wait <= 30_000);
      const isAway = kind === "unreachable" && upstreamStatus === undefined;
      assert.ok(isAway || wait >= (retryAfterMs ?? 0));
      if (retryAfterMs === undefined) assert.ok(wait <= 8000);
    }),
  );
});
