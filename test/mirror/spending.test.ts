import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { isTight, mayTakeOver, type PullsLeft, reserveOf, savedMs, stretchOf } from "../../src/mirror/spending.ts";
import { POLICY } from "./parts.ts";

const NOW = Date.UTC(2026, 0, 1);
const purse = (remaining: number | undefined, more: Partial<PullsLeft> = {}): PullsLeft => ({
  limit: 100,
  remaining,
  windowMs: 21_600_000,
  saidAt: NOW,
  closedUntil: 0,
  ...more,
});

test("an upstream that names no limit is asked as ever", () => {
  const unlimited = purse(undefined, { limit: undefined });
  for (const one of [undefined, unlimited]) {
    assert.equal(savedMs(one, 50, 1, POLICY, NOW), 0);
    assert.equal(isTight(one, 50), false);
    assert.equal(mayTakeOver(one, 50, 1000), true);
  }
});

test("a tag is believed longer the less is left, from half of the limit to the reserve", () => {
  assert.deepEqual(
    [100, 50, 10, 5, 0].map((left) => stretchOf(left, 100)),
    [1, 1, 24, 24, 24],
  );
  assert.ok(Math.abs(stretchOf(30, 100) - Math.sqrt(24)) < 1e-9);
  const left = fc.integer({ min: 0, max: 5000 });
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 5000 }), left, left, (limit, a, b) => {
      const [less, more] = [stretchOf(Math.min(a, b), limit), stretchOf(Math.max(a, b), limit)];
      assert.ok(less >= more && more >= 1 && less <= 24, `${limit} ${a} ${b}`);
    }),
  );
});

test("what is believed is not asked for until its time is over, and never longer than it may be served stale", () => {
  const age = POLICY.tags;
  assert.equal(savedMs(purse(60), 0, age, POLICY, NOW), 0);
  assert.equal(savedMs(purse(60), 30, age, POLICY, NOW), Math.sqrt(24) * POLICY.tags - age);
  assert.equal(savedMs(purse(30), 0, 5 * POLICY.tags, POLICY, NOW), 0);
  assert.equal(savedMs(purse(30), 0, -5, POLICY, NOW), 0);
  assert.equal(savedMs(purse(30), 0, age, { ...POLICY, staleIfError: 1000 }, NOW), 0);
  assert.equal(savedMs(purse(30, { windowMs: 60_000 }), 0, age, POLICY, NOW), 60_000);
});

test("in the reserve nothing stored is asked for, but a look is taken every quarter of an hour", () => {
  assert.equal(savedMs(purse(10), 0, 30 * POLICY.tags, POLICY, NOW), 900_000);
  assert.equal(savedMs(purse(10, { saidAt: NOW - 600_000 }), 0, 30 * POLICY.tags, POLICY, NOW), 300_000);
  assert.equal(savedMs(purse(10, { saidAt: NOW - 900_000 }), 0, 1, POLICY, NOW), 0);
  assert.equal(savedMs(purse(0, { closedUntil: NOW + 7 }), 0, 1, POLICY, NOW), 7);
});

test("a change is taken over only where all of it fits beside the reserve and what is promised", () => {
  assert.equal(reserveOf(100), 10);
  assert.equal(reserveOf(5), 2);
  assert.equal(reserveOf(1), 1);
  assert.equal(mayTakeOver(purse(13), 0, 3), true);
  assert.equal(mayTakeOver(purse(13), 1, 3), false);
  assert.equal(mayTakeOver(purse(undefined), 9, 3), true);
  assert.equal(isTight(purse(50), 0), false);
  assert.equal(isTight(purse(50), 1), true);
  assert.equal(isTight(purse(undefined), 0), true);
});

test("a change that could never fit beside the reserve takes a window that is nobody else's", () => {
  const small = (remaining: number, limit = 10) => purse(remaining, { limit });
  assert.equal(mayTakeOver(small(8), 0, 10), true);
  assert.equal(mayTakeOver(small(7), 0, 10), false);
  assert.equal(mayTakeOver(small(10), 1, 10), false);
  assert.equal(mayTakeOver(small(8), 0, 8), false);
  for (const limit of [1, 2, 3]) {
    assert.equal(mayTakeOver(small(limit, limit), 0, 2), true, String(limit));
    assert.equal(mayTakeOver(small(0, limit), 0, 2), false, String(limit));
  }
});

test("waits are never negative, endless, or longer than a window", () => {
  const count = fc.integer({ min: 0, max: 300 });
  const time = fc.integer({ min: -1e12, max: 1e12 });
  fc.assert(
    fc.property(
      count,
      count,
      count,
      time,
      time,
      fc.integer({ min: 0, max: 86_400_000 }),
      (limit, left, promised, age, said, windowMs) => {
        const waitMs = savedMs(purse(left, { limit, saidAt: NOW + said, windowMs }), promised, age, POLICY, NOW);
        assert.ok(waitMs >= 0 && waitMs <= windowMs, String(waitMs));
      },
    ),
  );
});
