/** One outcome for everybody who asks for a key while its work runs. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Singleflight, unlessAborted } from "../../src/base/singleflight.ts";

test("everybody who asks while the work runs gets the one success", async () => {
  const flights = new Singleflight<number>();
  const work = Promise.withResolvers<number>();
  let started = 0;
  const run = () =>
    flights.run("key", () => {
      started += 1;
      return work.promise;
    });
  const all = [run(), run(), run()];
  assert.deepEqual(
    all.map((flight) => flight.joined),
    [false, true, true],
  );
  assert.equal(flights.size, 1);
  work.resolve(7);
  assert.deepEqual(await Promise.all(all.map((flight) => flight.outcome)), [7, 7, 7]);
  assert.equal(started, 1);
});

test("everybody who asks while the work runs gets the one failure", async () => {
  const flights = new Singleflight<number>();
  const work = Promise.withResolvers<number>();
  const all = [flights.run("key", () => work.promise), flights.run("key", () => Promise.resolve(1))];
  const trouble = new Error("trouble");
  work.reject(trouble);
  for (const { outcome } of all) await assert.rejects(outcome, (error) => error === trouble);
});

test("keys do not share work", async () => {
  const flights = new Singleflight<string>();
  const one = flights.run("one", async () => "1");
  const two = flights.run("two", async () => "2");
  assert.equal(two.joined, false);
  assert.deepEqual(await Promise.all([one.outcome, two.outcome]), ["1", "2"]);
});

test("a key is forgotten by the time its outcome is known, after success and after failure", async () => {
  const flights = new Singleflight<number>();
  for (const work of [async () => 1, () => Promise.reject(new Error("no"))]) {
    await flights.run("key", work).outcome.catch(() => {});
    assert.equal(flights.size, 0);
    const again = flights.run("key", async () => 2);
    assert.equal(again.joined, false);
    assert.equal(await again.outcome, 2);
  }
});

test("work that throws before its first wait fails its flight, not its caller", async () => {
  const flights = new Singleflight<number>();
  const flight = flights.run("key", () => {
    throw new Error("at once");
  });
  await assert.rejects(flight.outcome, /at once/);
  assert.equal(flights.size, 0);
});

test("a failure that nobody waits for is no unhandled rejection", async () => {
  const flights = new Singleflight<number>();
  const seen: unknown[] = [];
  const onUnhandled = (error: unknown) => seen.push(error);
  process.on("unhandledRejection", onUnhandled);
  try {
    flights.run("key", () => Promise.reject(new Error("nobody listens")));
    await new Promise((resolve) => setImmediate(resolve));
    await new Promise((resolve) => setImmediate(resolve));
  } finally {
    process.off("unhandledRejection", onUnhandled);
  }
  assert.deepEqual(seen, []);
});

test("settled waits for everything that runs, whatever becomes of it", async () => {
  const flights = new Singleflight<number>();
  const good = Promise.withResolvers<number>();
  const bad = Promise.withResolvers<number>();
  flights.run("good", () => good.promise);
  flights.run("bad", () => bad.promise);
  let settled = false;
  const waiting = flights.settled().then(() => {
    settled = true;
  });
  good.resolve(1);
  await new Promise((resolve) => setImmediate(resolve));
  assert.equal(settled, false);
  bad.reject(new Error("no"));
  await waiting;
  assert.equal(flights.size, 0);
});

test("a waiter that leaves leaves alone: the work goes on for the others", async () => {
  const flights = new Singleflight<number>();
  const work = Promise.withResolvers<number>();
  const leaving = new AbortController();
  const staying = new AbortController();
  const first = unlessAborted(flights.run("key", () => work.promise).outcome, leaving.signal);
  const second = unlessAborted(flights.run("key", () => work.promise).outcome, staying.signal);
  leaving.abort(new Error("left"));
  await assert.rejects(first, /left/);
  assert.equal(flights.size, 1);
  work.resolve(3);
  assert.equal(await second, 3);
});

test("a waiter that has left before it waits is turned away at once", async () => {
  await assert.rejects(unlessAborted(new Promise(() => {}), AbortSignal.abort(new Error("gone"))), /gone/);
});

test("without a signal the promise is handed on as it is", async () => {
  const promise = Promise.resolve(1);
  assert.equal(unlessAborted(promise, undefined), promise);
  assert.equal(await promise, 1);
});

test("an abort after the outcome changes nothing", async () => {
  const leaving = new AbortController();
  const outcome = unlessAborted(Promise.resolve("there"), leaving.signal);
  assert.equal(await outcome, "there");
  leaving.abort();
  assert.equal(await outcome, "there");
});
