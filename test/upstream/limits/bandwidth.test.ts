/** Bytes per second over all bodies of an upstream: the rate kept, shared, and every byte right. */
import assert from "node:assert/strict";
import { Readable } from "node:stream";
import { buffer } from "node:stream/consumers";
import { test } from "node:test";
import { systemClock } from "../../../src/base/clock.ts";
import { type Flow, flowOf, readableOf, type Sink } from "../../../src/base/flow.ts";
import { Bandwidth } from "../../../src/upstream/limits/bandwidth.ts";
import { isAbsence } from "../../../src/upstream/upstream.ts";
import { ManualClock } from "../../kit/clock.ts";
import { seededBytes } from "../../kit/content.ts";
import { app, ask, digest, never, play } from "../scene.ts";

const KIB = 1024;
const RATE = 1000 * KIB;

/** A body that is there at once, in pieces of such a size. */
function body(bytes: Buffer, piece = 16 * KIB): Flow {
  let at = 0;
  return flowOf(
    new Readable({
      highWaterMark: 1,
      read() {
        this.push(at < bytes.length ? bytes.subarray(at, at + piece) : null);
        at += piece;
      },
    }),
  );
}

/** Takes whatever comes. */
class Taker implements Sink {
  readonly chunks: Buffer[] = [];
  bytes = 0;
  over = false;
  error: Error | undefined;
  accepts = () => true;
  readonly #space = Buffer.alloc(64 * KIB);

  pour(flow: Flow): this {
    flow.pour(this, (error) => {
      this.over = true;
      this.error = error;
    });
    return this;
  }

  space(): Uint8Array {
    return this.#space;
  }

  filled(count: number): boolean {
    this.chunks.push(Buffer.from(this.#space.subarray(0, count)));
    this.bytes += count;
    return this.accepts();
  }
}

/** Streams need several turns of the loop for what they have. */
async function pass(clock: ManualClock, ms: number): Promise<void> {
  for (let at = 0; at < ms; at += 10) {
    await clock.advance(10);
    for (let turn = 0; turn < 30; turn += 1) await new Promise((resolve) => setImmediate(resolve));
  }
}

test("a body comes at the rate, whole and right", async () => {
  const clock = new ManualClock();
  const bandwidth = new Bandwidth(RATE, clock);
  const bytes = seededBytes(2 * RATE, 1);
  const taker = new Taker().pour(bandwidth.limit(body(bytes)));
  await pass(clock, 1000);
  assert.ok(Math.abs(taker.bytes / RATE - 1) < 0.05, `${taker.bytes} bytes in a second`);
  await pass(clock, 1100);
  assert.deepEqual([taker.over, taker.error], [true, undefined]);
  assert.ok(Buffer.concat(taker.chunks).equals(bytes));
  assert.deepEqual([bandwidth.waiting, clock.pending], [0, 0]);
});

test("bodies share it evenly, whatever the size of their pieces, and one that ends leaves its share to the others", async () => {
  const clock = new ManualClock();
  const bandwidth = new Bandwidth(RATE, clock);
  const sizes = [KIB, 7 * KIB, 64 * KIB, 200 * KIB];
  const takers = sizes.map((piece) => new Taker().pour(bandwidth.limit(body(seededBytes(RATE, piece), piece))));
  await pass(clock, 1000);
  for (const { bytes } of takers) assert.ok(Math.abs(bytes / (RATE / 4) - 1) < 0.15, `${bytes} bytes`);
  const sum = takers.reduce((all, { bytes }) => all + bytes, 0);
  assert.ok(Math.abs(sum / RATE - 1) < 0.05, `${sum} bytes in a second`);
  await pass(clock, 3200);
  assert.ok(takers.every(({ over, bytes }) => over && bytes === RATE));
  assert.equal(clock.pending, 0);
});

test("a small document does not queue behind blobs", async () => {
  const clock = new ManualClock();
  const bandwidth = new Bandwidth(RATE, clock);
  const blobs = Array.from({ length: 20 }, (_, seed) =>
    new Taker().pour(bandwidth.limit(body(seededBytes(RATE, seed)))),
  );
  await pass(clock, 1000);
  const small = new Taker().pour(bandwidth.limit(body(seededBytes(4 * KIB, 99))));
  await pass(clock, 50);
  assert.ok(small.over, "two quanta of twenty milliseconds");
  assert.ok(blobs.every(({ over }) => !over));
  bandwidth.close();
  await pass(clock, 10);
});

test("a body whose receiver waits costs the others nothing, and goes on where it was", async () => {
  const clock = new ManualClock();
  const bandwidth = new Bandwidth(RATE, clock);
  const bytes = seededBytes(300 * KIB, 3);
  const slow = new Taker();
  slow.accepts = () => slow.bytes < 100 * KIB;
  const flow = bandwidth.limit(body(bytes));
  slow.pour(flow);
  const other = new Taker().pour(bandwidth.limit(body(seededBytes(2 * RATE, 4))));
  await pass(clock, 1000);
  assert.ok(slow.bytes < 130 * KIB);
  assert.ok(other.bytes > 0.85 * RATE, `${other.bytes} bytes`);
  slow.accepts = () => true;
  flow.resume();
  await pass(clock, 1500);
  assert.ok(slow.over);
  assert.ok(Buffer.concat(slow.chunks).equals(bytes));
});

test("a body says for how long the limit kept it: as long as others have their turn, and not while its upstream is slow", async () => {
  const clock = new ManualClock();
  const bandwidth = new Bandwidth(RATE, clock);
  const flows = [1, 2, 3, 4].map((seed) => bandwidth.limit(body(seededBytes(RATE, seed))));
  for (const flow of flows) new Taker().pour(flow);
  await pass(clock, 1000);
  for (const flow of flows) assert.ok((flow.keptMs?.() ?? 0) > 800, `${flow.keptMs?.()} ms of a second`);
  bandwidth.close();
  await pass(clock, 10);
  const silent = new Bandwidth(RATE, clock).limit(flowOf(new Readable({ read() {} })));
  new Taker().pour(silent);
  await pass(clock, 1000);
  assert.equal(silent.keptMs?.(), 0);
  silent.destroy();
});

test("a receiver that resumes before it said no is not forgotten", async () => {
  const clock = new ManualClock();
  const bandwidth = new Bandwidth(RATE, clock);
  const flow = bandwidth.limit(body(seededBytes(100 * KIB, 5)));
  const taker = new Taker();
  taker.accepts = () => {
    flow.resume();
    return false;
  };
  taker.pour(flow);
  await pass(clock, 500);
  assert.ok(taker.over && taker.bytes === 100 * KIB);
});

test("a body that is given up, before or while it waits, leaves nothing; one that breaks tells its error", async () => {
  const clock = new ManualClock();
  const bandwidth = new Bandwidth(10 * KIB, clock);
  const flows = [1, 2, 3].map((seed) => bandwidth.limit(body(seededBytes(100 * KIB, seed))));
  const takers = flows.slice(0, 2).map((flow) => new Taker().pour(flow));
  await pass(clock, 300);
  assert.ok(bandwidth.waiting > 0 && clock.pending > 0);
  for (const flow of flows) flow.destroy();
  assert.deepEqual([bandwidth.waiting, clock.pending], [0, 0]);
  assert.ok(
    takers.every(({ over }) => !over),
    "nothing is told after a destroy",
  );

  const stream = new Readable({ read() {} });
  const broken = new Taker().pour(bandwidth.limit(flowOf(stream)));
  await pass(clock, 2000);
  stream.destroy(new Error("cut"));
  await pass(clock, 10);
  assert.equal(broken.error?.message, "cut");
  assert.equal(clock.pending, 0);
});

test("a pause of all saves up no more than a fifth of a second", async () => {
  const clock = new ManualClock();
  const bandwidth = new Bandwidth(RATE, clock);
  await pass(clock, 5000);
  const taker = new Taker().pour(bandwidth.limit(body(seededBytes(RATE, 6))));
  await pass(clock, 10);
  assert.ok(taker.bytes <= 0.25 * RATE, `${taker.bytes} bytes at once`);
});

test("a close lets what waits go on, so that it meets its end", async () => {
  const clock = new ManualClock();
  const bandwidth = new Bandwidth(KIB, clock);
  const takers = [7, 8].map((seed) => new Taker().pour(bandwidth.limit(body(seededBytes(100 * KIB, seed)))));
  await pass(clock, 20);
  bandwidth.close();
  await pass(clock, 10);
  assert.ok(takers.every(({ over, bytes }) => over && bytes === 100 * KIB));
  assert.deepEqual([bandwidth.waiting, clock.pending], [0, 0]);
});

test("bodies from real connections come whole through a limit, and their connections are kept", async (t) => {
  const bytes = seededBytes(700_001, 9);
  const ports = new Set<number | undefined>();
  const registry = await play(t, (request, response, path) => {
    ports.add(request.socket.remotePort);
    response.writeHead(200, path.includes("chunked") ? {} : { "content-length": bytes.length });
    response.end(bytes);
  });
  const bandwidth = new Bandwidth(20_000_000, systemClock);
  for (const path of ["", "/chunked"]) {
    const { upstream } = ask(t, `${registry.url}${path}`, { limits: { connections: 4 } });
    ports.clear();
    const pull = async () => {
      const opened = await upstream.openBlob(app, digest, undefined, never);
      assert.ok(!isAbsence(opened));
      return await buffer(readableOf(bandwidth.limit(opened.body)));
    };
    for (const got of await Promise.all(Array.from({ length: 8 }, pull))) assert.ok(got.equals(bytes));
    assert.ok(ports.size <= 4);
  }
  assert.equal(bandwidth.waiting, 0);
});
