/** A body that brings next to nothing has broken, one that waits for our disk has not; no timer outlives it. */
import assert from "node:assert/strict";
import { Readable } from "node:stream";
import { test } from "node:test";
import { isFailure } from "../../src/base/failure.ts";
import { flowOf } from "../../src/base/flow.ts";
import { pump } from "../../src/mirror/pump.ts";
import type { Lane } from "../../src/store/blobstore.ts";
import { ManualClock } from "../kit/clock.ts";

/** A lane that takes what comes, or says no until `drain`. */
class PlayedLane implements Lane {
  position = 0;
  readonly isFull = false;
  takes = true;
  #drained = () => {};

  space(): Uint8Array {
    return new Uint8Array(64 * 1024);
  }

  filled(count: number): boolean {
    this.position += count;
    return this.takes;
  }

  onDrain(callback: () => void): void {
    this.#drained = callback;
  }

  drain(): void {
    this.takes = true;
    this.#drained();
  }

  close(): void {}
}

function start(keptMs = () => 0) {
  const clock = new ManualClock();
  const body = new Readable({ read() {} });
  const lane = new PlayedLane();
  const options = { skipBytes: 0, limitBytes: Number.POSITIVE_INFINITY, goesOn: false, clock };
  const pumped = pump({ ...flowOf(body), keptMs }, lane, options);
  pumped.catch(() => {});
  return { clock, body, lane, pumped };
}

test("a body that brings less than a kibibyte a second for a minute is broken off", async () => {
  const { clock, body, pumped } = start();
  for (let minute = 0; minute < 5; minute += 1) {
    body.push(Buffer.alloc(60 * 1024));
    await clock.advance(60_000);
    assert.equal(body.destroyed, false);
  }
  body.push(Buffer.alloc(60 * 1024 - 1));
  await clock.advance(60_000);
  await assert.rejects(pumped, (error) => isFailure(error, "unreachable") && /next to nothing/.test(error.message));
  assert.deepEqual([body.destroyed, clock.pending], [true, 0]);
});

test("a body that our own disk makes wait is none of those, and has a minute again when it goes on", async () => {
  const { clock, body, lane, pumped } = start();
  lane.takes = false;
  body.push(Buffer.alloc(100));
  for (let minute = 0; minute < 10; minute += 1) await clock.advance(60_000);
  lane.drain();
  await clock.advance(60_000);
  assert.equal(body.destroyed, false);
  body.push(Buffer.alloc(100));
  body.push(null);
  await clock.advance(0);
  await pumped;
  assert.deepEqual([lane.position, clock.pending], [200, 0]);
});

test("what our own limits keep from coming is not missing: a minute is one in which it could have come", async () => {
  let keptMs = 0;
  const { clock, body, pumped } = start(() => keptMs);
  for (let minute = 0; minute < 10; minute += 1) {
    keptMs += 59_000;
    await clock.advance(60_000);
  }
  assert.equal(body.destroyed, false);
  await clock.advance(49_000);
  assert.equal(body.destroyed, false);
  await clock.advance(1000);
  await assert.rejects(pumped, /next to nothing/);
  assert.equal(clock.pending, 0);
});
