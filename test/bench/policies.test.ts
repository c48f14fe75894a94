/** The policies that we are compared with, on sequences short enough to follow by hand; and the day they are given. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { makeDayTrace } from "../../bench/daytrace.ts";
import { Lfu, Lru, type Policy, TinyLfu } from "../../bench/policies.ts";

const hits = (policy: Policy, keys: string) => [...keys].map((key) => (policy.access(key, 10) ? "+" : "-")).join("");

test("LRU lets go of what was asked for longest ago", () => {
  assert.equal(hits(new Lru(20), "ababcab"), "--++---");
});

test("LFU lets go of what was asked for least, and remembers what it let go of", () => {
  const policy = new Lfu(20);
  hits(policy, "aaabbcd");
  assert.equal(policy.access("a", 10), true);
});

test("W-TinyLFU keeps what is asked for often from a scan", () => {
  const policy = new TinyLfu(1000);
  for (let round = 0; round < 5; round += 1) for (let at = 0; at < 50; at += 1) policy.access(`often ${at}`, 10);
  for (let at = 0; at < 500; at += 1) policy.access(`once ${at}`, 10);
  let kept = 0;
  for (let at = 0; at < 50; at += 1) if (policy.access(`often ${at}`, 10)) kept += 1;
  assert.ok(kept >= 45, `${kept}`);
});

test("a day is the same for the same seed, in the order of its time, and its scan is pulled once", () => {
  const options = { images: 50, pulls: 300, exponent: 0.9, seed: 3, scanned: 20 };
  const day = makeDayTrace(options);
  assert.deepEqual(makeDayTrace(options), day);
  assert.equal(day.pulls.length, 320);
  assert.ok(day.pulls.every(({ atMs }, at) => atMs >= (day.pulls[at - 1]?.atMs ?? 0)));
  const counts = new Map<string, number>();
  for (const { image } of day.pulls) counts.set(image.manifest.digest, (counts.get(image.manifest.digest) ?? 0) + 1);
  assert.ok([...counts.values()].filter((count) => count === 1).length >= 20);
});
