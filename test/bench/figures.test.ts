/** Medians, ratios, and what a figure is judged by. */
import assert from "node:assert/strict";
import { test } from "node:test";
import {
  atLeast,
  atMost,
  exactly,
  figureText,
  finding,
  joinRuns,
  judge,
  limitText,
  median,
  percentile,
  ratios,
  spread,
} from "../../bench/figures.ts";

test("a median is the middle one, or the middle of the two that are", () => {
  assert.equal(median([3, 1, 2]), 2);
  assert.equal(median([4, 1, 2, 3]), 2.5);
  assert.ok(Number.isNaN(median([])));
});

test("a percentile is the smallest value that the share is not above", () => {
  const hundred = Array.from({ length: 100 }, (_, index) => 100 - index);
  assert.equal(percentile(hundred, 0.99), 99);
  assert.equal(percentile([7], 0.99), 7);
  assert.ok(Number.isNaN(percentile([], 0.99)));
});

test("ratios pair rounds, and leave out a round whose other half is missing or no figure", () => {
  assert.deepEqual(ratios([2, 3, 4], [1, 2]), [2, 1.5]);
  assert.deepEqual(ratios([1, Number.NaN, 6], [0, 2, 3]), [2]);
  assert.deepEqual(ratios([1], []), []);
});

test("a spread shows the lowest and the highest where they differ in what is shown", () => {
  assert.equal(spread([1, 2, 4]), "2.00 (1.00–4.00)");
  assert.equal(spread([2]), "2.00");
  assert.equal(spread([0, 0, 0], 0), "0");
});

test("a bar is missed, passed, or its aim is reached, whichever way it points", () => {
  const verdicts = (bar: Parameters<typeof limitText>[0], ...values: number[]) =>
    values.map((value) => judge(bar === undefined ? { value } : { value, bar }));
  assert.deepEqual(verdicts(atMost(1.05, 0.85), 1.06, 1.05, 0.85), ["MISS", "pass", "aim reached"]);
  assert.deepEqual(verdicts(atLeast(0.6, 0.8), 0.59, 0.6, 0.8), ["MISS", "pass", "aim reached"]);
  assert.deepEqual(verdicts(exactly(1), 0, 1, 2), ["MISS", "pass", "MISS"]);
  assert.deepEqual(verdicts(undefined, 5), [""]);
});

test("a figure that is no number misses its bar", () => {
  for (const bar of [atMost(1), atLeast(1), exactly(1)]) assert.equal(judge({ value: Number.NaN, bar }), "MISS");
});

test("limits are shown with their direction, and a dash where there is none", () => {
  assert.deepEqual([limitText(atMost(2, 1), "must"), limitText(atMost(2, 1), "aim")], ["≤ 2", "≤ 1"]);
  assert.deepEqual([limitText(exactly(1), "must"), limitText(exactly(1), "aim")], ["= 1", "–"]);
  assert.equal(limitText(undefined, "must"), "–");
});

test("several runs become one figure: the median of their medians, with the runs as its spread", () => {
  const runs = [[1, 2, 3], [4], [9, 10, 11]].map((samples) => finding("x", samples, { unit: "s", bar: atMost(5) }));
  const joined = joinRuns(runs);
  assert.ok(joined !== undefined);
  assert.equal(joined.value, 4);
  assert.equal(figureText(joined), "4.00 (2.00–10.00) s");
  assert.equal(judge(joined), "pass");
  assert.equal(joinRuns([]), undefined);
});
