/** The Range header: what is cut out, what is refused, what is ignored. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { judgeRange } from "../../src/http/range.ts";

const one = (start: number, end: number) => [{ start, end }];

test("single ranges of 2048 bytes are what the conformance suite expects", () => {
  for (const [spec, verdict] of [
    ["500-1499", one(500, 1499)],
    ["500-", one(500, 2047)],
    ["-500", one(1548, 2047)],
    ["2000-5000", one(2000, 2047)],
    ["500-0", "unsatisfiable"],
    ["5000-10000", "unsatisfiable"],
    ["0-", one(0, 2047)],
    ["0-0", one(0, 0)],
    ["2047-2047", one(2047, 2047)],
    ["2048-", "unsatisfiable"],
    ["-1", one(2047, 2047)],
    ["-2048", one(0, 2047)],
    ["-5000", one(0, 2047)],
    ["-0", "unsatisfiable"],
  ] as const) {
    assert.deepEqual(judgeRange(`bytes=${spec}`, 2048), verdict, spec);
  }
});

test("no header, another unit, or broken syntax is ignored", () => {
  for (const header of [
    undefined,
    "",
    "bytes",
    "bytes=",
    "bytes=-",
    "bytes=,",
    "bytes= , ,",
    "bytes=a-b",
    "bytes=1",
    "bytes=1-2-3",
    "bytes=--1",
    "bytes=1-x",
    "bytes=1.5-2",
    "bytes=0x1-0x2",
    "bytes 0-1",
    "items=0-1",
    "byte=0-1",
    "xbytes=0-1",
    "=0-1",
    "0-1",
    "bytes=0-1,oops",
    "bytes=0-1;5-6",
    "bytes=٣-٤",
  ]) {
    assert.equal(judgeRange(header, 2048), "ignore", String(header));
  }
});

test("the unit's case, and spaces around ranges, mean nothing", () => {
  for (const header of ["Bytes=1-2", "BYTES=1-2", "bytes= 1-2", "bytes=1-2 ", "bytes=,1-2,", "bytes=\t1-2"]) {
    assert.deepEqual(judgeRange(header, 10), one(1, 2), header);
  }
});

test("several ranges come in the order in which they were asked for, without those that cannot be", () => {
  assert.deepEqual(judgeRange("bytes=5-6,0-1", 10), [
    { start: 5, end: 6 },
    { start: 0, end: 1 },
  ]);
  assert.deepEqual(judgeRange("bytes=0-1,90-95,-2", 10), [
    { start: 0, end: 1 },
    { start: 8, end: 9 },
  ]);
  assert.equal(judgeRange("bytes=20-30,40-", 10), "unsatisfiable");
});

test("ranges that overlap are answered with the whole, ranges that touch are not", () => {
  for (const spec of ["0-5,5-9", "0-9,0-9", "0-,5-6", "-5,5-5", "5-9,0-5"]) {
    assert.equal(judgeRange(`bytes=${spec}`, 10), "ignore", spec);
  }
  assert.deepEqual(judgeRange("bytes=0-4,5-9", 10), [
    { start: 0, end: 4 },
    { start: 5, end: 9 },
  ]);
});

test("more than 64 ranges are answered with the whole", () => {
  const ranges = (count: number) => `bytes=${Array.from({ length: count }, (_, n) => `${n * 2}-${n * 2}`).join(",")}`;
  assert.equal(judgeRange(ranges(64), 1000).length, 64);
  assert.equal(judgeRange(ranges(65), 1000), "ignore");
  assert.equal(judgeRange(`bytes=${",".repeat(100_000)}0-1`, 1000), "ignore");
});

test("nothing can be cut out of nothing", () => {
  for (const spec of ["0-", "0-0", "-1", "-0", "5-"]) assert.equal(judgeRange(`bytes=${spec}`, 0), "ignore");
});

test("numbers without end are numbers all the same", () => {
  const huge = "9".repeat(400);
  assert.deepEqual(judgeRange(`bytes=0-${huge}`, 10), one(0, 9));
  assert.deepEqual(judgeRange(`bytes=-${huge}`, 10), one(0, 9));
  assert.equal(judgeRange(`bytes=${huge}-`, 10), "unsatisfiable");
});

test("every range that is returned lies inside, and no byte is returned twice", () => {
  const number = fc.oneof(fc.nat(200).map(String), fc.constantFrom("", "0", "99999999999999999999"));
  const spec = fc.oneof(
    fc.tuple(number, number).map(([first, last]) => `${first}-${last}`),
    fc.string({ unit: fc.constantFrom(..."0123456789-, x"), maxLength: 8 }),
  );
  const header = fc.oneof(
    fc.array(spec, { maxLength: 6 }).map((specs) => `bytes=${specs.join(",")}`),
    fc.string(),
  );
  fc.assert(
    fc.property(header, fc.nat(200), (text, size) => {
      const verdict = judgeRange(text, size);
      if (verdict === "ignore" || verdict === "unsatisfiable") return;
      assert.ok(verdict.length > 0);
      const seen = new Set<number>();
      for (const { start, end } of verdict) {
        assert.ok(Number.isInteger(start) && Number.isInteger(end));
        assert.ok(start >= 0 && start <= end && end < size);
        for (let at = start; at <= end; at += 1) {
          assert.ok(!seen.has(at));
          seen.add(at);
        }
      }
    }),
    { numRuns: 1000 },
  );
});
