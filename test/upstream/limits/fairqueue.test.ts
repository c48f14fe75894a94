/** Whose turn it is: misses first but not for ever, repositories in turn, and nobody lost or served twice. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { FairQueue, type Standing } from "../../../src/upstream/limits/fairqueue.ts";

function drain<T>(queue: FairQueue<T>): T[] {
  const all: T[] = [];
  for (let one = queue.next(); one !== undefined; one = queue.next()) all.push(one);
  return all;
}

test("repositories take turns, and each one's own come in their order", () => {
  const queue = new FairQueue<string>();
  for (const one of ["a1", "a2", "a3", "b1", "c1", "b2"]) queue.add(one, { key: one[0] });
  assert.deepEqual(drain(queue), ["a1", "b1", "c1", "a2", "b2", "a3"]);
});

test("a repository that comes later waits for one turn of each other, however many they have waiting", () => {
  const queue = new FairQueue<string>();
  for (let at = 0; at < 100; at += 1) for (const key of ["a", "b"]) queue.add(`${key}${at}`, { key });
  queue.next();
  queue.add("late", { key: "c" });
  assert.ok([queue.next(), queue.next(), queue.next()].includes("late"));
});

test("refreshes wait for misses, but one turn in sixteen is theirs", () => {
  const queue = new FairQueue<string>();
  for (let at = 0; at < 2; at += 1) queue.add(`refresh${at}`, { urgency: "refresh" });
  for (let at = 0; at < 40; at += 1) queue.add(`miss${at}`, { urgency: "miss", key: `${at % 3}` });
  const order = drain(queue);
  assert.equal(order.indexOf("refresh0"), 15);
  assert.equal(order.indexOf("refresh1"), 31);
  assert.equal(order.length, 42);
});

test("misses that went while no refresh waited are not held against those to come", () => {
  const queue = new FairQueue<string>();
  for (let at = 0; at < 40; at += 1) queue.add(`miss${at}`, {});
  for (let at = 0; at < 30; at += 1) queue.next();
  queue.add("refresh", { urgency: "refresh" });
  assert.deepEqual(drain(queue).indexOf("refresh"), 10);
});

test("the last refresh is the youngest of the repository that has most", () => {
  const queue = new FairQueue<string>();
  assert.equal(queue.lastRefresh, undefined);
  queue.add("miss", {});
  for (const one of ["a1", "b1", "b2"]) queue.add(one, { urgency: "refresh", key: one[0] });
  assert.equal(queue.lastRefresh, "b2");
});

test("whoever is added and not taken out comes out once, and the size is right all along", () => {
  const standing: fc.Arbitrary<Standing> = fc.record({
    urgency: fc.constantFrom("miss", "refresh"),
    key: fc.constantFrom("a", "b", "c", undefined),
  });
  const step = fc.oneof(fc.record({ add: standing }), fc.record({ remove: fc.nat(50) }), fc.constant("next" as const));
  fc.assert(
    fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
      const queue = new FairQueue<number>();
      const added: Standing[] = [];
      const inside = new Set<number>();
      for (const one of steps) {
        if (one === "next") {
          const next = queue.next();
          assert.equal(next === undefined, inside.size === 0);
          if (next !== undefined) assert.ok(inside.delete(next));
        } else if ("add" in one) {
          queue.add(added.length, one.add);
          inside.add(added.length);
          added.push(one.add);
        } else {
          queue.remove(one.remove, added[one.remove] ?? {});
          inside.delete(one.remove);
        }
        assert.equal(queue.size, inside.size);
      }
      assert.deepEqual(new Set(drain(queue)), inside);
    }),
  );
});
