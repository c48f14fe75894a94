/** A large body may take as long as it likes, but not stand still. */
import assert from "node:assert/strict";
import { PassThrough } from "node:stream";
import { test } from "node:test";
import { withoutStalls } from "../../src/api/intake.ts";
import { isFailure } from "../../src/base/failure.ts";
import { ManualClock } from "../kit/clock.ts";

test("a body of which nothing comes for a minute breaks off, and no sooner", async () => {
  const clock = new ManualClock();
  const body = new PassThrough();
  const read = withoutStalls(body, clock)[Symbol.asyncIterator]();
  for (const text of ["a", "b", "c"]) {
    const next = read.next();
    await clock.advance(59_000);
    body.write(text);
    assert.equal(String((await next).value), text);
  }
  body.end();
  assert.equal((await read.next()).done, true);
  assert.equal(clock.pending, 0);
});

test("what stands still ends with its body, and says why", async () => {
  const clock = new ManualClock();
  const body = new PassThrough();
  const reading = withoutStalls(body, clock).toArray();
  reading.catch(() => {});
  await clock.advance(60_000);
  await assert.rejects(
    reading,
    (error) => isFailure(error, "corrupt") && /nothing more of it came for 60 s/.test(error.message),
  );
  assert.equal(body.destroyed, true);
  assert.equal(clock.pending, 0);
});

test("whoever gives it up while he waits is kept by nothing", async () => {
  const clock = new ManualClock();
  const body = new PassThrough();
  const stream = withoutStalls(body, clock);
  stream.on("error", () => {}).resume();
  await new Promise((resolve) => setImmediate(resolve));
  const closed = new Promise((resolve) => stream.once("close", resolve));
  stream.destroy();
  await closed;
  await new Promise((resolve) => setImmediate(resolve));
  assert.equal(body.destroyed, true);
  assert.equal(clock.pending, 0);
});
