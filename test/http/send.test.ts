/** Pieces of a blob on their way to a socket. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { Readable } from "node:stream";
import { test } from "node:test";
import { Failure } from "../../src/base/failure.ts";
import { planMultipart } from "../../src/http/multipart.ts";
import { type Piece, type Rescue, Sending } from "../../src/http/send.ts";
import { digestOf } from "../../src/oci/digest.ts";
import type { Follower } from "../../src/store/follower.ts";
import { MemoryStore } from "../contracts/memory-store.ts";
import { seededBytes } from "../kit/content.ts";
import { fakeExchange } from "./fake-exchange.ts";

const SIZE = 3 * 1024 * 1024 + 17;
const BYTES = seededBytes(SIZE);

async function withStored(work: (store: MemoryStore) => Promise<void>): Promise<void> {
  const store = new MemoryStore();
  const ingest = await store.ingest(digestOf(BYTES));
  ingest.write(BYTES);
  await (await ingest.finish()).stored;
  ingest.close();
  try {
    await work(store);
  } finally {
    store.clear();
  }
}

const open = async (store: MemoryStore) => (await store.open(digestOf(BYTES))) ?? assert.fail("not stored");

/** Sends as the front does: what fails before the first byte would become an error, what fails later is a cut. */
function send(follower: Follower, pieces: readonly Piece[], rescue?: Rescue) {
  const made = fakeExchange();
  made.exchange.head(200, {});
  const over = once(made.response, "close");
  new Sending().send(made.exchange, follower, pieces, (error) => made.exchange.cut(error), rescue);
  return { ...made, over };
}

test("pieces are sent in their order, each byte counted, and the answer ends", () =>
  withStored(async (store) => {
    const pieces = [{ start: 5, end: 9 }, Buffer.from("between"), { start: 0, end: SIZE - 1 }, Buffer.from("after")];
    const { response, over, answered } = send(await open(store), pieces);
    await over;
    const expected = Buffer.concat([BYTES.subarray(5, 10), Buffer.from("between"), BYTES, Buffer.from("after")]);
    assert.ok(response.body.equals(expected));
    assert.equal(response.destroyed, false);
    assert.equal(answered[0]?.bytes, expected.length);
    assert.equal(answered[0]?.aborted, false);
  }));

test("small first ranges do not make the rest of the answer crawl", () =>
  withStored(async (store) => {
    const ranges = [
      { start: 0, end: 0 },
      { start: 10, end: 10 },
      { start: 100, end: 64 * 1024 + 99 },
    ];
    const plan = planMultipart(ranges, SIZE, "application/octet-stream");
    const { response, over } = send(await open(store), plan.pieces);
    await over;
    assert.equal(response.body.length, plan.contentLength);
    assert.ok(response.chunks.length < 20, `64 KiB were sent in ${response.chunks.length} writes`);
  }));

test("a fill that fails breaks the answer off short of its end, and what was there has left", async () => {
  const store = new MemoryStore();
  const ingest = await store.ingest(digestOf(BYTES));
  ingest.declareSize(SIZE);
  let closed = 0;
  const follower = ingest.follow(() => {
    closed += 1;
  });
  const { exchange, response, over, answered } = send(follower, [{ start: 0, end: SIZE - 1 }]);
  ingest.write(BYTES.subarray(0, 500_000));
  while (exchange.bytes < 500_000) await new Promise((resolve) => setImmediate(resolve));
  const reason = new Failure("unreachable", "the upstream has gone");
  await ingest.fail(reason);
  await over;
  ingest.close();
  assert.equal(response.writableFinished, false);
  assert.ok(response.body.equals(BYTES.subarray(0, 500_000)));
  assert.equal(answered[0]?.error, reason);
  assert.equal(closed, 1);
});

test("a fill that fails before its first byte leaves the answer to whoever can still change it", async () => {
  const store = new MemoryStore();
  const ingest = await store.ingest(digestOf(BYTES));
  ingest.declareSize(SIZE);
  const { exchange, response } = fakeExchange();
  exchange.head(200, {});
  const reason = new Failure("unreachable", "the upstream has gone");
  const failed = new Promise<Error>((resolve) =>
    new Sending().send(
      exchange,
      ingest.follow(() => {}),
      [{ start: 0, end: SIZE - 1 }],
      resolve,
    ),
  );
  await ingest.fail(reason);
  assert.equal(await failed, reason);
  assert.equal(exchange.begun, false);
  assert.equal(response.destroyed, false);
  response.destroy();
  ingest.close();
});

test("a client that leaves takes its follower along, once, and is no error", () =>
  withStored(async (store) => {
    let closed = 0;
    const follower = await open(store);
    const { close } = follower;
    follower.close = () => {
      closed += 1;
      close.call(follower);
    };
    const { response, answered } = send(follower, [{ start: 0, end: SIZE - 1 }]);
    response.destroy();
    for (let turn = 0; turn < 200 && closed === 0; turn += 1) await new Promise((resolve) => setImmediate(resolve));
    assert.equal(closed, 1);
    assert.equal(answered[0]?.aborted, true);
    assert.equal(answered[0]?.error, undefined);
  }));

test("memory that a response never let go of is not lent to anyone again, and not counted as lent for ever", () =>
  withStored(async (store) => {
    const { exchange, response } = fakeExchange();
    const never: Buffer[] = [];
    // As Node does with what is written to a response whose socket is gone, or not its own yet.
    response.write = (chunk: Buffer) => {
      never.push(chunk);
      return false;
    };
    exchange.head(200, {});
    const sending = new Sending();
    const over = once(response, "close");
    sending.send(exchange, await open(store), [{ start: 0, end: SIZE - 1 }], () => {});
    while (never.length < 2) await new Promise((resolve) => setImmediate(resolve));
    assert.ok(sending.buffers.lentBytes > 0);
    response.destroy();
    await over;
    assert.equal(sending.buffers.lentBytes, 0);
    const others = Array.from({ length: 8 }, () => sending.buffers.lend(1024 * 1024).buffer);
    for (const chunk of never) assert.ok(!others.includes(chunk.buffer));
  }));

/** Goes on from the right bytes, and remembers what it was asked for. */
function rescuer() {
  const asked: { start: number; end: number; damaged: boolean; withFile: boolean }[] = [];
  const rescue: Rescue = (follower, { start, end }, damage) => {
    asked.push({ start, end, damaged: damage !== undefined, withFile: follower !== undefined });
    follower?.close();
    return Readable.from(chunksOf(BYTES.subarray(start, end + 1)));
  };
  return { asked, rescue };
}

function* chunksOf(bytes: Buffer): Iterable<Buffer> {
  for (let at = 0; at < bytes.length; at += 100_000) yield bytes.subarray(at, at + 100_000);
}

test("an answer whose fill dies of the disk goes on from elsewhere at the byte it reached", async () => {
  const store = new MemoryStore();
  const ingest = await store.ingest(digestOf(BYTES));
  ingest.declareSize(SIZE);
  ingest.write(BYTES.subarray(0, 1_000_000));
  let closed = 0;
  const follower = ingest.follow(() => {
    closed += 1;
  });
  const { asked, rescue } = rescuer();
  const { response, over, exchange } = send(follower, [{ start: 0, end: SIZE - 1 }], rescue);
  for (let turn = 0; turn < 1000 && exchange.bytes < 1_000_000; turn += 1) await new Promise((go) => setImmediate(go));
  await ingest.fail(new Failure("storage", "the disk is full"));
  await over;
  assert.ok(response.body.equals(BYTES));
  assert.deepEqual(asked, [{ start: 1_000_000, end: SIZE - 1, damaged: false, withFile: true }]);
  assert.equal(closed, 1);
  ingest.close();
});

test("a file that cannot be read is told to be damaged, and each further piece of the answer is asked for by itself", () =>
  withStored(async (store) => {
    const stored = await open(store);
    // Nothing that could be read.
    const broken: Follower = new Proxy(stored, {
      get: (target, key) => {
        if (key === "fd") return 1_000_000;
        const value: unknown = Reflect.get(target, key, target);
        return typeof value === "function" ? value.bind(target) : value;
      },
    });
    const { asked, rescue } = rescuer();
    const pieces = [Buffer.from("first:"), { start: 5, end: 500_000 }, Buffer.from(":second:"), { start: 7, end: 9 }];
    const { response, over } = send(broken, pieces, rescue);
    await over;
    const parts = [Buffer.from("first:"), BYTES.subarray(5, 500_001), Buffer.from(":second:"), BYTES.subarray(7, 10)];
    assert.ok(response.body.equals(Buffer.concat(parts)));
    assert.deepEqual(asked, [
      { start: 5, end: 500_000, damaged: true, withFile: true },
      { start: 7, end: 9, damaged: false, withFile: false },
    ]);
    assert.equal(response.destroyed, false);
  }));

test("what is wrong with the bytes themselves is not gone on with", async () => {
  const store = new MemoryStore();
  const ingest = await store.ingest(digestOf(BYTES));
  ingest.declareSize(SIZE);
  ingest.write(BYTES.subarray(0, 1_000_000));
  const { asked, rescue } = rescuer();
  const { over, answered, exchange } = send(
    ingest.follow(() => {}),
    [{ start: 0, end: SIZE - 1 }],
    rescue,
  );
  for (let turn = 0; turn < 1000 && exchange.bytes < 1_000_000; turn += 1) await new Promise((go) => setImmediate(go));
  await ingest.fail(new Failure("corrupt", "it no longer matches its digest"));
  await over;
  assert.deepEqual(asked, []);
  assert.ok((answered[0]?.bytes ?? 0) < SIZE);
  ingest.close();
});

test("what turns out to be damaged when the last of it was handed over is not ended as if it were whole", () =>
  withStored(async (store) => {
    const stored = await open(store);
    const damage = new Failure("corrupt", "the stored blob does not match its digest");
    let sent = () => 0;
    const follower: Follower = {
      digest: stored.digest,
      sizeBytes: stored.sizeBytes,
      fd: stored.fd,
      visible: () => stored.visible(),
      wait: (position, wake) => stored.wait(position, wake),
      failure: () => (sent() === SIZE ? damage : undefined),
      close: () => stored.close(),
    };
    const { exchange, response, over, answered } = send(follower, [{ start: 0, end: SIZE - 1 }]);
    sent = () => exchange.bytes;
    await over;
    assert.equal(response.writableFinished, false);
    assert.equal(answered[0]?.error, damage);
  }));

test("what cannot be gone on with either ends short", async () => {
  const store = new MemoryStore();
  const ingest = await store.ingest(digestOf(BYTES));
  ingest.declareSize(SIZE);
  ingest.write(BYTES.subarray(0, 1_000_000));
  const rescue: Rescue = (follower) => {
    follower?.close();
    return new Readable({ read: () => {} }).destroy(new Failure("unreachable", "the upstream is gone as well"));
  };
  const { over, answered, exchange } = send(
    ingest.follow(() => {}),
    [{ start: 0, end: SIZE - 1 }],
    rescue,
  );
  for (let turn = 0; turn < 1000 && exchange.bytes < 1_000_000; turn += 1) await new Promise((go) => setImmediate(go));
  await ingest.fail(new Failure("storage", "the disk is full"));
  await over;
  assert.equal(answered[0]?.error?.message, "the upstream is gone as well");
  ingest.close();
});
