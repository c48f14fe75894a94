/** What may be served at which age. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { type Freshness, judgeFreshness, mayServeStale } from "../../src/mirror/freshness.ts";

const policy = { tags: 300, staleWhileRevalidate: 3600, staleIfError: 86_400, notFound: 10 };

test("the age decides, and each limit belongs to what follows it", () => {
  const table: readonly [age: number, verdict: Freshness, staleAllowed: boolean][] = [
    [0, "use", true],
    [299, "use", true],
    [300, "useAndRefresh", true],
    [3599, "useAndRefresh", true],
    [3600, "revalidate", true],
    [86_399, "revalidate", true],
    [86_400, "revalidate", false],
    [1e12, "revalidate", false],
  ];
  for (const [age, verdict, staleAllowed] of table) {
    assert.equal(judgeFreshness(1000, policy, 1000 + age), verdict, `age ${age}`);
    assert.equal(mayServeStale(1000, policy, 1000 + age), staleAllowed, `age ${age}`);
  }
});

test("a confirmation from the future proves nothing", () => {
  assert.equal(judgeFreshness(1001, policy, 1000), "revalidate");
});

test("with nothing allowed everything is asked for", () => {
  const strict = { tags: 0, staleWhileRevalidate: 0, staleIfError: 0, notFound: 0 };
  assert.equal(judgeFreshness(5, strict, 5), "revalidate");
  assert.equal(mayServeStale(5, strict, 5), false);
});

test("a refresh window shorter than the freshness of tags never cuts that short", () => {
  const odd = { ...policy, staleWhileRevalidate: 10 };
  assert.equal(judgeFreshness(0, odd, 299), "use");
  assert.equal(judgeFreshness(0, odd, 300), "revalidate");
});

test("nothing becomes fresher by growing older", () => {
  const RANK: Record<Freshness, number> = { use: 0, useAndRefresh: 1, revalidate: 2 };
  const ms = fc.nat(10_000);
  fc.assert(
    fc.property(ms, ms, ms, ms, fc.tuple(ms, ms), (tags, staleWhileRevalidate, staleIfError, checkedAt, ages) => {
      const any = { tags, staleWhileRevalidate, staleIfError, notFound: 0 };
      const [young, old] = [Math.min(...ages), Math.max(...ages)];
      const rank = (age: number) => RANK[judgeFreshness(checkedAt, any, checkedAt + age)];
      assert.ok(rank(young) <= rank(old));
      const stale = (age: number) => mayServeStale(checkedAt, any, checkedAt + age);
      assert.ok(stale(young) || !stale(old));
    }),
  );
});
