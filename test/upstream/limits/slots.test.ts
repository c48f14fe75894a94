/** Slots and their line: fair, bounded, each by its own signal, and nothing left of who went. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { isFailure } from "../../../src/base/failure.ts";
import type { Standing } from "../../../src/upstream/limits/fairqueue.ts";
import type { LineOptions } from "../../../src/upstream/limits/line.ts";
import { Slots } from "../../../src/upstream/limits/slots.ts";
import { ManualClock } from "../../kit/clock.ts";

const never = new AbortController().signal;

function open(count: number, more: Partial<LineOptions> = {}) {
  const clock = new ManualClock();
  const slots = new Slots(count, { upstream: "reg.test", setting: "connections", clock, ...more });
  const order: string[] = [];
  const releases: (() => void)[] = [];
  /** Takes a slot, and notes when it has it. */
  const take = async (name: string, standing?: Standing, signal = never) => {
    releases.push(await slots.take(signal, standing));
    order.push(name);
  };
  return { clock, slots, order, releases, take };
}

const turn = () => new Promise<void>((resolve) => setImmediate(resolve));

test("a slot that is given back goes to who waits, once, however often it is given back", async () => {
  const { clock, slots, order, releases, take } = open(1);
  await take("first");
  const waiting = [take("second"), take("third")];
  assert.equal(slots.waiting, 2);
  releases[0]?.();
  releases[0]?.();
  await turn();
  assert.deepEqual(order, ["first", "second"]);
  releases[1]?.();
  await Promise.all(waiting);
  releases[2]?.();
  await take("fourth");
  assert.deepEqual([slots.waiting, clock.pending], [0, 0]);
});

test("misses go before refreshes, and repositories take turns", async () => {
  const { order, releases, take } = open(1);
  await take("first");
  void take("refresh", { urgency: "refresh" });
  for (const name of ["a1", "a2", "b1"]) void take(name, { key: name[0] });
  for (let at = 0; at < 5; at += 1) {
    releases[at]?.();
    await turn();
  }
  assert.deepEqual(order, ["first", "a1", "b1", "a2", "refresh"]);
});

test("who leaves by their signal leaves alone, and takes no slot with them", async () => {
  const { clock, order, releases, slots, take } = open(1);
  await take("first");
  const leaving = new AbortController();
  const left = take("left", {}, leaving.signal);
  const stays = take("stays");
  leaving.abort(new Error("enough"));
  await assert.rejects(left, /enough/);
  assert.equal(slots.waiting, 1);
  releases[0]?.();
  await stays;
  assert.deepEqual(order, ["first", "stays"]);
  await assert.rejects(take("late", {}, leaving.signal), /enough/);
  assert.equal(clock.pending, 0);
});

test("where all places are taken, the next one is told which setting it is, and when to come again", async () => {
  const { clock, slots, releases, take } = open(1, { places: 2 });
  await take("first");
  const waiting = [take("second"), take("third")];
  await assert.rejects(take("fourth"), (error) => {
    assert.ok(isFailure(error, "overloaded"));
    assert.match(error.message, /reg\.test.*upstreams\.reg\.test\.limits\.connections/);
    assert.equal(error.retryAfterMs, 2000);
    return true;
  });
  assert.equal(slots.waiting, 2);
  for (let at = 0; at < 3; at += 1) {
    releases[at]?.();
    await turn();
  }
  await Promise.all(waiting);
  assert.equal(clock.pending, 0);
});

test("a refresh gives up its place to a miss, and a miss to nobody", async () => {
  const { take, slots } = open(1, { places: 2 });
  await take("first");
  const refreshes = [take("r1", { urgency: "refresh" }), take("r2", { urgency: "refresh" })];
  void take("miss");
  await assert.rejects(refreshes[1] ?? assert.fail(), (error) => isFailure(error, "overloaded"));
  await assert.rejects(take("r3", { urgency: "refresh" }), (error) => isFailure(error, "overloaded"));
  void take("another");
  await assert.rejects(refreshes[0] ?? assert.fail(), (error) => isFailure(error, "overloaded"));
  await assert.rejects(take("one more"), (error) => isFailure(error, "overloaded"));
  assert.equal(slots.waiting, 2);
});

test("a refresh waits so long and no longer, a miss longer", async () => {
  const { clock, slots, take } = open(1, { patienceMs: { refresh: 1000, miss: 5000 } });
  await take("first");
  const refresh = take("refresh", { urgency: "refresh" });
  const miss = take("miss");
  refresh.catch(() => {});
  await clock.advance(1000);
  await assert.rejects(refresh, (error) => isFailure(error, "overloaded"));
  assert.equal(slots.waiting, 1);
  miss.catch(() => {});
  await clock.advance(4000);
  await assert.rejects(miss, (error) => isFailure(error, "overloaded"));
  assert.deepEqual([slots.waiting, clock.pending], [0, 0]);
});

test("without a line of its own, slots turn nobody away", async () => {
  const slots = new Slots(1);
  const release = await slots.take(never);
  const waiting = Array.from({ length: 3000 }, () => slots.take(never).then((free) => free()));
  assert.equal(slots.waiting, 3000);
  release();
  await Promise.all(waiting);
  assert.equal(slots.waiting, 0);
});
