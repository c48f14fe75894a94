/**
 * Streams as flows and flows as streams: every byte once, in order, at the receiver's pace.
 */
import assert from "node:assert/strict";
import { Readable } from "node:stream";
import test from "node:test";
import { flowOf, readableOf, type Sink } from "../../src/base/flow.ts";
import { seededBytes } from "../kit/content.ts";

const bytes = seededBytes(300_001, 7);

function pieces(size: number): Readable {
  let at = 0;
  return new Readable({
    read() {
      this.push(at < bytes.length ? bytes.subarray(at, at + size) : null);
      at += size;
    },
  });
}

class Collector implements Sink {
  readonly chunks: Buffer[] = [];
  readonly #size: number;
  readonly #accepts: () => boolean;
  #space: Buffer;

  constructor(size: number, accepts = () => true) {
    this.#size = size;
    this.#accepts = accepts;
    this.#space = Buffer.alloc(size);
  }

  space(): Uint8Array {
    return this.#space;
  }

  filled(count: number): boolean {
    this.chunks.push(this.#space.subarray(0, count));
    this.#space = Buffer.alloc(this.#size);
    return this.#accepts();
  }
}

for (const size of [1000, 7, 70_000]) {
  test(`a stream is poured whole into spaces of ${size} bytes, through a receiver that often asks to wait`, async () => {
    let turn = 0;
    const flow = flowOf(pieces(1024 * 8));
    const sink = new Collector(size, () => {
      turn += 1;
      if (turn % 3 > 0) return true;
      setImmediate(() => flow.resume());
      return false;
    });
    const error = await new Promise((done) => flow.pour(sink, done));
    assert.equal(error, undefined);
    assert.ok(Buffer.concat(sink.chunks).equals(bytes));
  });
}

test("a flow that goes through a stream and back is the same", async () => {
  const chunks: Buffer[] = [];
  for await (const chunk of readableOf(flowOf(pieces(5000)))) chunks.push(chunk as Buffer);
  assert.ok(Buffer.concat(chunks).equals(bytes));
});

test("what broke a stream ends the flow, also when it broke before anyone poured", async () => {
  const broken = pieces(100);
  const flow = flowOf(broken);
  broken.destroy(new Error("cut"));
  await new Promise((resolve) => broken.once("close", resolve));
  const error = await new Promise<Error | undefined>((done) => flow.pour(new Collector(10), done));
  assert.equal(error?.message, "cut");
});

test("what the receiver throws ends the flow and destroys its source", async () => {
  const source = pieces(100);
  const sink: Sink = {
    space: () => Buffer.alloc(10),
    filled: () => {
      throw new Error("full");
    },
  };
  const error = await new Promise<Error | undefined>((done) => flowOf(source).pour(sink, done));
  assert.equal(error?.message, "full");
  assert.ok(source.destroyed);
});

test("destroying the stream of a flow destroys its source, and nobody is told", async () => {
  const source = pieces(100);
  const stream = readableOf(flowOf(source));
  stream.read();
  stream.destroy();
  await new Promise((resolve) => stream.once("close", resolve));
  assert.ok(source.destroyed);
});
