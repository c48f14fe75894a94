/** What a fill does when its clients leave, its upstream breaks, or somebody wants bytes far ahead of it. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import {
  beginCourse,
  planAbandoned,
  planCourse,
  planPiece,
  planRange,
  planRefused,
} from "../../src/mirror/fillpolicy.ts";
import { Pace } from "../../src/mirror/pace.ts";

const MIB = 1024 * 1024;
const GIB = 1024 * MIB;

test("an abandoned fill is finished when a quarter is there or little is missing", () => {
  for (const [received, size, plan] of [
    [0, 64 * MIB, "finish"],
    [0, 64 * MIB + 1, "stop"],
    [1, 64 * MIB + 1, "finish"],
    [GIB / 4 - 1, GIB, "stop"],
    [GIB / 4, GIB, "finish"],
    [GIB, GIB, "finish"],
    [0, 0, "finish"],
    [0, undefined, "stop"],
    [1, undefined, "finish"],
  ] as const) {
    assert.equal(planAbandoned(received, size), plan, `${received} of ${size}`);
  }
});

test("more bytes never turn an abandoned fill from finishing to stopping", () => {
  const bytes = fc.nat(2 ** 31 - 1);
  fc.assert(
    fc.property(bytes, fc.tuple(bytes, bytes), (size, received) => {
      const [less, more] = [Math.min(...received, size), Math.min(Math.max(...received), size)];
      assert.ok(planAbandoned(less, size) === "stop" || planAbandoned(more, size) === "finish");
    }),
  );
});

test("a range near the fill follows it, one far ahead goes to the upstream unless the fill is soon there", () => {
  for (const [startByte, visibleBytes, bytesPerSecond, plan] of [
    [0, 0, 0, "follow"],
    [0, 100, 0, "follow"],
    [16 * MIB, 0, 0, "follow"],
    [16 * MIB + 1, 0, 0, "pass"],
    [116 * MIB, 100 * MIB, 0, "follow"],
    [GIB, 0, GIB / 2, "follow"],
    [GIB, 0, GIB / 2 - 1, "pass"],
  ] as const) {
    assert.equal(planRange({ startByte, visibleBytes, bytesPerSecond }), plan);
  }
});

test("a fill that is further or faster is never the worse choice", () => {
  const bytes = fc.nat(2 ** 31 - 1);
  fc.assert(
    fc.property(bytes, bytes, bytes, bytes, (startByte, visibleBytes, bytesPerSecond, more) => {
      const situation = { startByte, visibleBytes, bytesPerSecond };
      if (planRange(situation) === "pass") return;
      assert.equal(planRange({ ...situation, visibleBytes: visibleBytes + more }), "follow");
      assert.equal(planRange({ ...situation, bytesPerSecond: bytesPerSecond + more }), "follow");
    }),
  );
});

const MB = 1_000_000;

test("connections double while that is worth it, up to the limit", () => {
  const one = beginCourse(6);
  assert.equal(one.connections, 1);
  const two = planCourse(one, 10 * MB);
  assert.equal(two.connections, 2);
  const four = planCourse(two, 19 * MB);
  assert.equal(four.connections, 4);
  const six = planCourse(four, 35 * MB);
  assert.equal(six.connections, 6);
  const settled = planCourse(six, 50 * MB);
  assert.deepEqual([settled.connections, settled.settled], [6, true]);
  assert.equal(planCourse(settled, 1), settled);
});

test("connections that bring a little more are kept, those that bring hardly more given up, and none are tried where one is fast", () => {
  const two = planCourse(beginCourse(4), 10 * MB);
  const kept = planCourse(two, 12 * MB);
  assert.deepEqual([kept.connections, kept.settled], [2, true]);
  const back = planCourse(two, 10.5 * MB);
  assert.deepEqual([back.connections, back.settled], [1, true]);
  const fast = planCourse(beginCourse(4), 100 * MB);
  assert.deepEqual([fast.connections, fast.settled], [1, true]);
  assert.equal(beginCourse(1).settled, true);
});

test("a refusal settles for what runs besides", () => {
  const two = planCourse(beginCourse(4), 10 * MB);
  assert.deepEqual([planRefused(two, 2).connections, planRefused(two, 2).settled], [1, true]);
  assert.equal(planRefused(two, 1).connections, 1);
});

test("pieces follow one another without a gap or an overlap, end with the blob, and are never tiny", () => {
  const shape = fc.record({
    sizeBytes: fc.integer({ min: 64 * MIB, max: 10 * GIB }),
    connections: fc.integer({ min: 1, max: 16 }),
  });
  fc.assert(
    fc.property(shape, ({ sizeBytes, connections }) => {
      const course = { connections, limit: 16, before: undefined, settled: connections > 1 };
      let at = 16 * MIB;
      for (let piece = 0; at < sizeBytes; piece += 1) {
        assert.ok(piece < 1000);
        const end = planPiece({ course, nextByte: at, sizeBytes, missingByte: at });
        assert.ok(end !== undefined && end <= sizeBytes && end - at >= 8 * MIB && end - at <= 40 * MIB);
        at = end;
      }
      assert.equal(at, sizeBytes);
      assert.equal(planPiece({ course, nextByte: at, sizeBytes, missingByte: at }), undefined);
    }),
  );
});

test("a single connection asks for all the rest, and several do not run further ahead than 256 MiB", () => {
  const single = { connections: 1, limit: 4, before: undefined, settled: true };
  assert.equal(planPiece({ course: single, nextByte: 16 * MIB, sizeBytes: GIB, missingByte: 16 * MIB }), GIB);
  const several = { ...single, connections: 4 };
  const ahead = { course: several, nextByte: 512 * MIB, sizeBytes: GIB };
  assert.equal(planPiece({ ...ahead, missingByte: 256 * MIB }), undefined);
  assert.equal(planPiece({ ...ahead, missingByte: 256 * MIB + 1 }), 544 * MIB);
});

test("an upstream near by is asked by one request, until that turns out slow", () => {
  const pace = new Pace();
  assert.equal(pace.isKnown, false);
  pace.answered(40);
  assert.equal(pace.mayBeSlow, true);
  pace.answered(2);
  assert.equal(pace.mayBeSlow, false);
  pace.brought(MIB, 1000);
  assert.equal(pace.mayBeSlow, false, "a small blob tells nothing");
  pace.brought(100 * MIB, 10_000);
  assert.equal(pace.mayBeSlow, true);
  pace.brought(100 * MIB, 500);
  assert.equal(pace.mayBeSlow, false);
});
