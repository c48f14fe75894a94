/**
 * Bodies as flows: what was announced is what comes, whoever failed is who is named, and the end is told once.
 */
import assert from "node:assert/strict";
import { Readable } from "node:stream";
import { test } from "node:test";
import { gzipSync } from "node:zlib";
import { Failure, isFailure } from "../../../src/base/failure.ts";
import { type Flow, flowOf, type Sink } from "../../../src/base/flow.ts";
import { openBody, readExcerpt, readWhole } from "../../../src/upstream/exchange/body.ts";

/** A source of these pieces, and whether it was destroyed. */
function source(...pieces: readonly (string | Buffer)[]): { flow: Flow; stream: Readable } {
  const stream = Readable.from(
    pieces.map((piece) => Buffer.from(piece)),
    { objectMode: false },
  );
  return { flow: flowOf(stream), stream };
}

/** What is announced, and how often and with how much the end was told. */
function announcing(bytes: number | undefined) {
  const ends: number[] = [];
  const explain = (error: unknown) => new Failure("unreachable", "explained", { cause: error });
  return { ends, announced: { bytes, explain, onEnd: (received: number) => ends.push(received) } };
}

function read(flow: Flow, spaceBytes = 4): Promise<{ text: string; error: Error | undefined }> {
  let text = "";
  const memory = Buffer.alloc(spaceBytes);
  const sink: Sink = {
    space: () => memory,
    filled(count) {
      text += memory.toString("latin1", 0, count);
      return true;
    },
  };
  return new Promise((resolve) => flow.pour(sink, (error) => resolve({ text, error })));
}

test("a body as long as announced, or of unknown length, is handed on", async () => {
  for (const bytes of [6, undefined]) {
    const { ends, announced } = announcing(bytes);
    assert.deepEqual(await read(openBody(source("abc", "def").flow, "identity", announced)), {
      text: "abcdef",
      error: undefined,
    });
    assert.deepEqual(ends, [6]);
  }
});

test("a shorter body is an error at its end; of a longer one no byte too many reaches the receiver", async () => {
  const short = announcing(7);
  const less = await read(openBody(source("abc", "def").flow, "identity", short.announced));
  assert.ok(isFailure(less.error, "unreachable") && /less than it announced/.test(less.error.message));
  assert.deepEqual([less.text, short.ends], ["abcdef", [6]]);
  const long = announcing(5);
  const { flow, stream } = source("abc", "def");
  const more = await read(openBody(flow, "identity", long.announced));
  assert.ok(isFailure(more.error, "unreachable") && /more than it announced/.test(more.error.message));
  assert.equal(more.text, "abcde");
  assert.ok(stream.destroyed);
  const nothing = await read(openBody(source("a").flow, "identity", announcing(0).announced));
  assert.deepEqual([nothing.text, nothing.error instanceof Failure], ["", true]);
});

test("the source's error is explained, the receiver's own is not", async () => {
  const broken = new Readable({ read() {} });
  broken.push("abc");
  setImmediate(() => broken.destroy(new Error("cut")));
  const explained = await read(openBody(flowOf(broken), "identity", announcing(10).announced));
  assert.deepEqual([explained.text, explained.error?.message], ["abc", "explained"]);
  const full = new Error("full");
  const { ends, announced } = announcing(6);
  const sink = {
    space: () => Buffer.alloc(2),
    filled: () => {
      throw full;
    },
  };
  const flow = openBody(source("abcdef").flow, "identity", announced);
  assert.equal(await new Promise((resolve) => flow.pour(sink, resolve)), full);
  assert.equal(ends.length, 1);
});

test("a body that is given up tells its end once, also where nobody poured", async () => {
  for (const coding of ["identity", "gzip"]) {
    const { ends, announced } = announcing(undefined);
    const { flow, stream } = source(gzipSync("abc"));
    const body = openBody(flow, coding, announced);
    body.destroy();
    body.destroy();
    if (!stream.destroyed) await new Promise((resolve) => stream.once("close", resolve));
    assert.equal(ends.length, 1, coding);
  }
});

test("an encoded body is decoded; malformed, cut or unknown coding is a failure", async () => {
  const bytes = gzipSync("x".repeat(1000));
  const good = announcing(bytes.length);
  assert.equal((await read(openBody(source(bytes).flow, "gzip", good.announced), 100)).text, "x".repeat(1000));
  assert.deepEqual(good.ends, [bytes.length]);
  const bad = await read(openBody(source("no gzip at all").flow, "gzip", announcing(undefined).announced));
  assert.ok(isFailure(bad.error, "corrupt"));
  const cut = await read(openBody(source(bytes.subarray(0, 20)).flow, "gzip", announcing(bytes.length).announced));
  assert.ok(isFailure(cut.error));
  const unknown = announcing(3);
  const { flow, stream } = source("abc");
  assert.throws(() => openBody(flow, "rot13", unknown.announced), /not asked for/);
  assert.ok(stream.destroyed && unknown.ends.length === 1);
});

test("a document is read whole within its limit, and its source destroyed beyond it", async () => {
  const fits = announcing(undefined);
  assert.equal((await readWhole(source("abc", "def").flow, 6, fits.announced)).toString(), "abcdef");
  for (const bytes of [undefined, 7]) {
    const { ends, announced } = announcing(bytes);
    const { flow, stream } = source("abc", "defg");
    await assert.rejects(readWhole(flow, 6, announced), (error) => isFailure(error, "corrupt"));
    assert.ok(stream.destroyed && ends.length === 1);
  }
});

test("of an error's text the beginning is enough, and half of one too", async () => {
  const { flow, stream } = source("abc", "def", "ghi");
  assert.equal((await readExcerpt(flow, 5)).toString(), "abcde");
  assert.ok(stream.destroyed);
  assert.equal((await readExcerpt(source("abc").flow, 5)).toString(), "abc");
  const broken = new Readable({ read() {} });
  broken.push("abc");
  setImmediate(() => broken.destroy(new Error("cut")));
  assert.equal((await readExcerpt(flowOf(broken), 5)).toString(), "abc");
});
