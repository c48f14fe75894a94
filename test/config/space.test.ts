/** What may be said about the space of the cache. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { schema } from "../../src/config/schema.ts";

const faultsOf = (config: unknown) => {
  const { error } = schema.safeParse(config);
  return (error?.issues ?? []).map(({ path, message }) => `${path.join(".")}: ${message}`);
};

test("watermarks are shares, the low one not above the high one", () => {
  const { cache } = schema.parse({});
  assert.deepEqual([cache.highWatermark, cache.lowWatermark], [0.95, 0.9]);
  assert.equal(schema.parse({ cache: { lowWatermark: "95%" } }).cache.lowWatermark, 0.95);
  assert.deepEqual(faultsOf({ cache: { highWatermark: "80%" } }), [
    "cache.lowWatermark: must not be above cache.highWatermark",
  ]);
  for (const value of ["1GiB", 90, "101%", "many"]) {
    assert.equal(faultsOf({ cache: { highWatermark: value } }).length, 1, String(value));
  }
});

test("an upstream's share of the cache is a size, a share, or none", () => {
  const shareOf = (maxSize: unknown) =>
    schema.parse({ upstreams: { "docker.io": { maxSize } } }).upstreams["docker.io"]?.maxSize;
  assert.equal(shareOf(undefined), null);
  assert.equal(shareOf(null), null);
  assert.equal(shareOf("1KiB"), 1024);
  assert.deepEqual(shareOf("20%"), { percent: 20 });
  assert.equal(faultsOf({ upstreams: { "docker.io": { maxSize: "much" } } }).length, 1);
});
