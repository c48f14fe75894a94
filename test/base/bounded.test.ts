import assert from "node:assert/strict";
import { test } from "node:test";
import { LRUCache } from "lru-cache";
import { atMost } from "../../src/base/bounded.ts";

test("a cache keeps as many as it may and forgets the one least asked for", () => {
  const cache = new LRUCache<string, true>(atMost(3));
  for (const key of ["a", "b", "c"]) cache.set(key, true);
  cache.get("a");
  cache.set("c", true);
  cache.set("d", true);
  assert.deepEqual([...cache.keys()].sort(), ["a", "c", "d"]);
  for (let at = 0; at < 1000; at += 1) cache.set(`k${at}`, true);
  assert.equal(cache.size, 3);
});
