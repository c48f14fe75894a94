/** A time that something counts for: it ends, whatever is done to the clock. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { leftOf, OVER, spanOf } from "../../src/base/span.ts";

test("it counts down, and is over at its end", () => {
  const span = spanOf(1000, 50);
  assert.deepEqual(
    [1000, 1001, 1049, 1050, 9999].map((now) => leftOf(span, now)),
    [50, 49, 1, 0, 0],
  );
});

test("a clock that was set back to before its beginning ends it", () => {
  assert.equal(leftOf(spanOf(1000, 50), 999), 0);
  assert.equal(leftOf(spanOf(1000, 50), 0), 0);
});

test("there is nothing left of none", () => {
  assert.equal(leftOf(undefined, 5), 0);
  for (const now of [-1, 0, 1]) assert.equal(leftOf(OVER, now), 0);
});

test("it never has more left than it had", () => {
  const time = fc.integer({ min: 0, max: 2 ** 42 });
  fc.assert(
    fc.property(time, fc.integer({ min: 0, max: 2 ** 32 }), time, (since, ms, now) => {
      const left = leftOf(spanOf(since, ms), now);
      return left >= 0 && left <= ms;
    }),
  );
});
