/**
 * What is remembered of credentials that were shown: refused for a while, good, or on trial.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Failure, isFailure } from "../../../src/base/failure.ts";
import { Refusals } from "../../../src/upstream/auth/refusals.ts";
import type { Held } from "../../../src/upstream/credentials/credential.ts";
import { ManualClock } from "../../kit/clock.ts";

const held = (password: string): Held => ({ kind: "basic", username: "robot", password });
const refusal = new Failure("refused", "no");

function scene(refusedMs?: number) {
  const clock = new ManualClock();
  return { clock, refusals: new Refusals(clock, refusedMs) };
}

test("a refusal counts for its time, for the credential that was refused and for the account", () => {
  const { clock, refusals } = scene(5000);
  assert.equal(refusals.findRefusal(), undefined);
  refusals.note(refusal, held("old"));
  assert.equal(refusals.findRefusal(), refusal);
  assert.equal(refusals.findRefusal(held("old")), refusal);
  assert.equal(refusals.findRefusal(held("new")), undefined);
  clock.jump(5000);
  assert.equal(refusals.findRefusal(held("old")), undefined);
  assert.equal(refusals.findRefusal(), undefined);
});

test("a refusal that is noted again in its time lasts no longer, and is no news", () => {
  const { clock, refusals } = scene();
  assert.equal(refusals.note(refusal, held("old")), true);
  clock.jump(9000);
  assert.equal(refusals.note(refusal, held("old")), false);
  clock.jump(1000);
  assert.equal(refusals.findRefusal(), undefined);
  assert.equal(refusals.note(refusal, held("old")), true);
});

test("what has not proved good is shown by one at a time, and its refusal is everybody's", async () => {
  const { refusals } = scene();
  const first = await refusals.enter(held("x"));
  const others = [1, 2, 3].map(() => refusals.enter(held("x")));
  const settled = Promise.allSettled(others);
  refusals.note(refusal, held("x"));
  first.end("none");
  for (const one of await settled) assert.equal(one.status === "rejected" && one.reason, refusal);
  await assert.rejects(refusals.enter(held("x")), (error) => error === refusal);
});

test("what has proved good is shown by everybody, and lifts a refusal", async () => {
  const { clock, refusals } = scene();
  refusals.note(refusal, held("x"));
  const first = await refusals.enter(held("y"));
  const waiting = refusals.enter(held("y"));
  first.end("good");
  first.end("none");
  (await waiting).end("none");
  assert.equal(refusals.findRefusal(), undefined);
  assert.equal(refusals.isGoodOfLate(held("y")), true);
  assert.equal(refusals.isGoodOfLate(held("x")), false);
  await Promise.all([refusals.enter(held("y")), refusals.enter(held("y"))]);
  clock.jump(10_000);
  assert.equal(refusals.isGoodOfLate(held("y")), false);
});

test("a trial without a verdict lets all go that waited", async () => {
  const { refusals } = scene();
  const first = await refusals.enter(held("x"));
  const waiting = Promise.all([refusals.enter(held("x")), refusals.enter(held("x")), refusals.enter(held("x"))]);
  first.end("none");
  assert.equal((await waiting).length, 3);
});

test("who waits for a trial leaves with their own reason", async () => {
  const { refusals } = scene();
  const first = await refusals.enter(held("x"));
  const leaving = new AbortController();
  const waiting = refusals.enter(held("x"), leaving.signal);
  leaving.abort(new Failure("unreachable", "left"));
  await assert.rejects(waiting, (error) => isFailure(error, "unreachable"));
  first.end("good");
  (await refusals.enter(held("x"))).end("good");
});

test("a trouble is told once in its time, a refusal once each", () => {
  const { clock, refusals } = scene();
  assert.deepEqual([refusals.mayTell("a"), refusals.mayTell("a"), refusals.mayTell("b")], [true, false, true]);
  refusals.note(refusal, held("x"));
  assert.deepEqual([refusals.mayTell(), refusals.mayTell()], [true, false]);
  refusals.note(refusal, held("y"));
  assert.equal(refusals.mayTell(), true);
  clock.jump(10_000);
  assert.equal(refusals.mayTell("a"), true);
});

test("a clock that is set back ends what is remembered", async () => {
  const { clock, refusals } = scene();
  refusals.note(refusal, held("x"));
  assert.equal(refusals.mayTell("a"), true);
  (await refusals.enter(held("y"))).end("good");
  refusals.note(refusal, held("x"));
  clock.jump(-3_600_000);
  assert.equal(refusals.findRefusal(held("x")), undefined);
  assert.equal(refusals.isGoodOfLate(held("y")), false);
  assert.equal(refusals.mayTell("a"), true);
});
