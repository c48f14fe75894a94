/** What is good for a time: asked for once, renewed behind, kept while renewals fail, forgotten when refused. */
import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import fc from "fast-check";
import { Failure } from "../../../src/base/failure.ts";
import type { Asking } from "../../../src/upstream/credentials/credential.ts";
import { leaseUntil, Renewed } from "../../../src/upstream/credentials/renewed.ts";
import { createScene } from "./scene.ts";

const HOUR = 60 * 60_000;

interface Attempt {
  readonly asking: Asking;
  readonly resolve: (value: string) => void;
  readonly reject: (error: unknown) => void;
}

/** @param answer how each attempt ends; undefined = the test ends it by hand */
function setUp(t: TestContext, answer?: (count: number) => string | Failure) {
  const { clock, asking } = createScene(t);
  const attempts: Attempt[] = [];
  const told: string[] = [];
  const renewed = new Renewed<string>({
    clock,
    timeoutMs: 10_000,
    what: "the source",
    obtain: async (given) => {
      const value = await new Promise<string>((resolve, reject) => {
        attempts.push({ asking: given, resolve, reject });
        given.signal.addEventListener("abort", () => reject(given.signal.reason), { once: true });
        const outcome = answer?.(attempts.length);
        if (outcome instanceof Failure) reject(outcome);
        else if (outcome !== undefined) resolve(outcome);
      });
      return leaseUntil(value, clock.now(), clock.now() + HOUR, 0.5);
    },
    onFailure: ({ message }) => told.push(message),
  });
  t.after(() => renewed.close());
  return { clock, asking, attempts, told, renewed };
}

const down = () => new Failure("unreachable", "down");

test("however many ask, it is obtained once, and kept", async (t) => {
  const { renewed, asking, attempts } = setUp(t);
  const all = Array.from({ length: 50 }, () => renewed.get(asking()));
  await new Promise(setImmediate);
  assert.equal(attempts.length, 1);
  attempts[0]?.resolve("one");
  assert.deepEqual(new Set(await Promise.all(all)), new Set(["one"]));
  assert.equal(await renewed.get(asking()), "one");
  assert.equal(attempts.length, 1);
});

test("at about half of its life it is renewed behind: nobody waits for it", async (t) => {
  const { renewed, asking, attempts, clock } = setUp(t);
  const first = renewed.get(asking());
  attempts[0]?.resolve("one");
  assert.equal(await first, "one");
  await clock.advance(HOUR / 2 - 1);
  assert.equal(await renewed.get(asking()), "one");
  assert.equal(attempts.length, 1);
  await clock.advance(1);
  assert.deepEqual(await Promise.all([renewed.get(asking()), renewed.get(asking())]), ["one", "one"]);
  assert.equal(attempts.length, 2);
  attempts[1]?.resolve("two");
  await clock.advance(0);
  assert.equal(await renewed.get(asking()), "two");
});

test("while renewals fail the old one is used until shortly before its end, and that is told once", async (t) => {
  const { renewed, asking, attempts, clock, told } = setUp(t, (count) => (count === 1 ? "one" : down()));
  await renewed.get(asking());
  for (let minute = 0; minute < 59; minute += 1) {
    assert.equal(await renewed.get(asking()), "one", `minute ${minute}`);
    await clock.advance(60_000);
  }
  assert.deepEqual(told, ["down"]);
  // The waits between them double, up to five minutes.
  assert.ok(attempts.length > 4 && attempts.length < 14, String(attempts.length));
  await assert.rejects(renewed.get(asking()), { kind: "unreachable", message: "down" });
});

test("after renewals that failed, one that succeeds makes the next failure told again", async (t) => {
  const { renewed, asking, clock, told } = setUp(t, (count) => (count === 1 || count === 3 ? `v${count}` : down()));
  await renewed.get(asking());
  await clock.advance(HOUR / 2);
  await renewed.get(asking());
  await clock.advance(10_000);
  await renewed.get(asking());
  await clock.advance(0);
  assert.equal(await renewed.get(asking()), "v3");
  await clock.advance(HOUR / 2);
  await renewed.get(asking());
  await clock.advance(0);
  assert.deepEqual(told, ["down", "down"]);
});

test("a failure with nothing to use is not tried again for ten seconds, whoever comes", async (t) => {
  const { renewed, asking, attempts, clock } = setUp(t, (count) => (count === 1 ? down() : "two"));
  for (let second = 0; second < 10; second += 1) {
    await assert.rejects(renewed.get(asking()), { kind: "unreachable", message: "down" });
    await clock.advance(999);
  }
  assert.equal(attempts.length, 1);
  await clock.advance(10);
  assert.equal(await renewed.get(asking()), "two");
});

test("what was refused is forgotten, and asked for anew; what took its place already is not", async (t) => {
  const { renewed, asking, attempts } = setUp(t, (count) => `v${count}`);
  assert.equal(await renewed.get(asking()), "v1");
  renewed.forget("v1");
  assert.equal(await renewed.get(asking()), "v2");
  renewed.forget("v1");
  assert.equal(await renewed.get(asking()), "v2");
  assert.equal(attempts.length, 2);
});

test("an attempt that takes too long is ended, and says what did not answer", async (t) => {
  const { renewed, asking, attempts, clock } = setUp(t);
  const waiting = renewed.get(asking());
  const ended = assert.rejects(waiting, {
    kind: "unreachable",
    timedOut: true,
    message: "the source did not answer within 10 s",
  });
  await clock.advance(10_000);
  await ended;
  assert.equal(attempts[0]?.asking.signal.aborted, true);
  assert.equal(clock.pending, 0);
});

test("who leaves, leaves alone: the others get what is obtained", async (t) => {
  const { renewed, asking, attempts } = setUp(t);
  const leaver = new AbortController();
  const gone = assert.rejects(renewed.get(asking(leaver.signal)), /left/);
  const stays = renewed.get(asking());
  leaver.abort(new Error("left"));
  await gone;
  attempts[0]?.resolve("one");
  assert.equal(await stays, "one");
  assert.equal(attempts.length, 1);
});

test("where an attempt fails because of who left, another that waits begins one of its own", async (t) => {
  const { renewed, asking, attempts } = setUp(t);
  const leaver = new AbortController();
  const gone = assert.rejects(renewed.get(asking(leaver.signal)), /left/);
  const stays = renewed.get(asking());
  await new Promise(setImmediate);
  leaver.abort(new Error("left"));
  attempts[0]?.reject(leaver.signal.reason);
  await gone;
  await new Promise(setImmediate);
  assert.equal(attempts.length, 2);
  attempts[1]?.resolve("two");
  assert.equal(await stays, "two");
});

test("closing ends what runs, and nothing is asked for afterwards", async (t) => {
  const { renewed, asking, attempts, clock } = setUp(t);
  const waiting = assert.rejects(renewed.get(asking()), { kind: "unreachable", message: "the mirror is stopping" });
  await renewed.close();
  await waiting;
  assert.equal(attempts[0]?.asking.signal.aborted, true);
  await assert.rejects(renewed.get(asking()), { kind: "unreachable" });
  assert.equal(attempts.length, 1);
  assert.equal(clock.pending, 0);
});

test("a lease is renewed within its life and dropped before its end, whatever its length", () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 1e10 }),
      fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
      (lifeMs, random) => {
        const { renewAt, expiresAt } = leaseUntil("x", 1e12, 1e12 + lifeMs, random);
        assert.ok(renewAt >= 1e12 + lifeMs * 0.45 && renewAt <= 1e12 + lifeMs * 0.55);
        assert.ok(renewAt < expiresAt && expiresAt < 1e12 + lifeMs && expiresAt >= 1e12 + lifeMs - 60_000);
      },
    ),
  );
  for (const lifeMs of [0, -1, Number.NaN]) assert.throws(() => leaseUntil("x", 1e12, 1e12 + lifeMs), /expired/);
});

test("a failure is remembered even where whoever had it begun has left", async (t) => {
  const { renewed, asking, attempts, clock } = setUp(t);
  const leaver = new AbortController();
  const gone = assert.rejects(renewed.get(asking(leaver.signal)), /left/);
  leaver.abort(new Error("left"));
  await gone;
  attempts[0]?.reject(down());
  await clock.advance(0);
  await assert.rejects(renewed.get(asking()), { kind: "unreachable", message: "down" });
  assert.equal(attempts.length, 1);
});

test("a clock that is set back does not make a failure last, nor keep a renewal away", async (t) => {
  const { renewed, asking, attempts, clock } = setUp(t, (count) => (count === 1 || count === 3 ? down() : `v${count}`));
  await assert.rejects(renewed.get(asking()), { message: "down" });
  clock.jump(-HOUR);
  assert.equal(await renewed.get(asking()), "v2");
  await clock.advance(HOUR * 0.7);
  await renewed.get(asking());
  await clock.advance(0);
  assert.equal(attempts.length, 3);
  clock.jump(-60_000);
  await renewed.get(asking());
  await clock.advance(0);
  assert.equal(attempts.length, 4);
});
