/** What a fill does when its clients leave, its upstream breaks, or somebody wants bytes far ahead of it. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { Failure } from "../../src/base/failure.ts";
import { planAbandoned, planRange, planResumption } from "../../src/mirror/fillpolicy.ts";

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

const broken = (kind: "unreachable" | "corrupt" | "limited" | "storage", receivedBytes = 1, fruitless = 0) =>
  planResumption({ error: new Failure(kind, "broken"), receivedBytes, fruitless });

test("a broken fill is taken up again after waits that grow, and given up in the end", () => {
  const delays = [0, 1, 2, 3, 4].map((fruitless) => broken("unreachable", 1, fruitless));
  assert.deepEqual(delays, [100, 400, 1600, undefined, undefined]);
});

test("a fill that has received nothing is not taken up again", () => {
  assert.equal(broken("unreachable", 0), undefined);
});

test("only an upstream that cannot be reached is asked again", () => {
  for (const kind of ["corrupt", "limited", "storage"] as const) assert.equal(broken(kind), undefined);
  assert.equal(planResumption({ error: new Error("a bug"), receivedBytes: 1, fruitless: 0 }), undefined);
  assert.equal(planResumption({ error: undefined, receivedBytes: 1, fruitless: 0 }), undefined);
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
