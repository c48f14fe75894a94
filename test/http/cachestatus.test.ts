/** Cache-Status: the words that users see, and that they are a structured field. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { cacheStatus } from "../../src/http/cachestatus.ts";
import type { Verdict } from "../../src/mirror/verdict.ts";
import { parseItem } from "./structured.ts";

const TABLE: readonly [Verdict, string][] = [
  [{ cache: "hit" }, "wharfinger; hit"],
  [{ cache: "hit", ttlMs: 299_999 }, "wharfinger; hit; ttl=299"],
  [{ cache: "hit", ttlMs: 0 }, "wharfinger; hit; ttl=0"],
  [{ cache: "revalidated" }, "wharfinger; fwd=stale; fwd-status=200; detail=unchanged"],
  [{ cache: "stale", ttlMs: -60_000, reason: "limited" }, "wharfinger; hit; ttl=-60; detail=stale"],
  [{ cache: "stale", ttlMs: -1, reason: "refreshing" }, "wharfinger; hit; ttl=-1; detail=stale"],
  [{ cache: "stale", ttlMs: 0, reason: "unreachable" }, "wharfinger; hit; ttl=0; detail=stale"],
  [{ cache: "miss", stored: true }, "wharfinger; fwd=miss; fwd-status=200; stored"],
  [{ cache: "miss", stored: true, stale: false }, "wharfinger; fwd=miss; fwd-status=200; stored"],
  [{ cache: "miss", stored: true, stale: true }, "wharfinger; fwd=stale; fwd-status=200; stored"],
  [{ cache: "miss", stored: false }, "wharfinger; fwd=miss; fwd-status=200"],
  [{ cache: "joined" }, "wharfinger; fwd=miss; collapsed"],
  [{ cache: "partial" }, "wharfinger; fwd=partial"],
  [{ cache: "bypass", why: "disk-full" }, "wharfinger; fwd=bypass; detail=disk-full"],
  [{ cache: "bypass", why: "cache-full" }, "wharfinger; fwd=bypass; detail=cache-full"],
  [{ cache: "bypass", why: "storage" }, "wharfinger; fwd=bypass; detail=storage"],
  [{ cache: "absent", remembered: true }, "wharfinger; hit; detail=absent"],
  [{ cache: "absent", remembered: false }, "wharfinger; fwd=miss; fwd-status=404"],
  [{ cache: "none" }, "wharfinger"],
];

test("every verdict is told in the agreed words", () => {
  for (const [verdict, text] of TABLE) assert.equal(cacheStatus(verdict), text);
  assert.equal(new Set(TABLE.map(([verdict]) => verdict.cache)).size, 9);
});

test("every verdict is a structured field item named after the mirror", () => {
  for (const [verdict] of TABLE) {
    const { value, parameters } = parseItem(cacheStatus(verdict));
    assert.deepEqual(value, { token: "wharfinger" });
    for (const key of parameters.keys()) {
      assert.ok(["hit", "fwd", "fwd-status", "ttl", "stored", "collapsed", "key", "detail"].includes(key), key);
    }
    assert.ok(!(parameters.has("hit") && parameters.has("fwd")), "RFC 9211 §2.2: hit and fwd exclude each other");
    const fwd = parameters.get("fwd");
    if (fwd !== undefined) {
      assert.ok(typeof fwd === "object");
      assert.ok(
        ["bypass", "method", "uri-miss", "vary-miss", "miss", "request", "stale", "partial"].includes(fwd.token),
      );
    }
  }
});

test("a time to live is whole seconds, and never promises more than is left", () => {
  fc.assert(
    fc.property(fc.integer({ min: -1e12, max: 1e12 }), fc.boolean(), (ttlMs, stale) => {
      const verdict: Verdict = stale ? { cache: "stale", ttlMs, reason: "other" } : { cache: "hit", ttlMs };
      const ttl = parseItem(cacheStatus(verdict)).parameters.get("ttl");
      assert.ok(typeof ttl === "number" && Number.isInteger(ttl));
      assert.ok(ttl * 1000 <= ttlMs && ttlMs < (ttl + 1) * 1000);
    }),
  );
});

test("the checker itself refuses what is no item", () => {
  for (const bad of ["", ";", "a;", "a; B", "a b", "a; x=", "a, b", 'a; x="', "a; x=1.2.3", "a;; b", "9a"]) {
    assert.throws(() => parseItem(bad), Error, bad);
  }
  assert.deepEqual([...parseItem('a;b;c=-5; d="x\\"y";e=?0').parameters.values()], [true, -5, 'x"y', false]);
});
