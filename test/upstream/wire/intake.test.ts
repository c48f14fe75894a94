/**
 * Bodies between connection and sink: any pieces, any spaces, any patience of the sink give the same bytes and the same end.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import type { Sink } from "../../../src/base/flow.ts";
import { ChunkedFraming } from "../../../src/upstream/wire/chunked.ts";
import { WireFault } from "../../../src/upstream/wire/fault.ts";
import { type Framing, framingOf } from "../../../src/upstream/wire/framing.ts";
import { Intake } from "../../../src/upstream/wire/intake.ts";

const lengthOf = (bytes: number) =>
  framingOf("GET", { minor: 1, status: 200, headers: { "content-length": `${bytes}` } });
const untilClose = () => framingOf("GET", { minor: 1, status: 200, headers: {} });

/** Spaces of one memory, overwritten as soon as they were told of, as a kernel would that had them still. */
class StrictSink implements Sink {
  readonly #slab: Buffer;
  readonly #sizes: readonly number[];
  readonly #pieces: Buffer[] = [];
  readonly #patience: () => boolean;
  #turn = 0;
  #handed: Uint8Array | undefined;

  constructor(sizes: readonly number[], patience: () => boolean) {
    this.#sizes = sizes.length === 0 ? [7] : sizes;
    this.#slab = Buffer.alloc(Math.max(...this.#sizes));
    this.#patience = patience;
  }

  space(): Uint8Array {
    this.#handed ??= this.#slab.subarray(0, this.#sizes[this.#turn % this.#sizes.length]);
    return this.#handed;
  }

  filled(count: number): boolean {
    assert.ok(this.#handed !== undefined && count > 0 && count <= this.#handed.length);
    this.#pieces.push(Buffer.from(this.#handed.subarray(0, count)));
    this.#handed.fill(0);
    this.#handed = undefined;
    this.#turn += 1;
    return this.#patience();
  }

  get bytes(): Buffer {
    return Buffer.concat(this.#pieces);
  }
}

interface Delivery {
  readonly pieces: readonly number[];
  readonly spaces: readonly number[];
  /** Every so many spaces the sink asks to wait; 0 never. */
  readonly waitEvery: number;
  /** After how many reads somebody pours. */
  readonly pourAfter: number;
  /** Whether the connection brings on what it has though it was told to stop, as TLS does. */
  readonly eager: boolean;
}

const PLAIN: Delivery = { pieces: [], spaces: [1000], waitEvery: 0, pourAfter: 0, eager: false };

/** Plays a connection that brings `raw` and ends, where it `closes` without waiting for all to be handed over. */
function deliver(
  framing: Framing,
  raw: Buffer,
  { pieces, spaces, waitEvery, pourAfter, eager }: Delivery,
  closes = false,
) {
  let waits = 0;
  let turn = 0;
  const sink = new StrictSink(spaces, () => {
    turn += 1;
    if (waitEvery === 0 || turn % waitEvery > 0) return true;
    waits += 1;
    return false;
  });
  const told: { end: "open" | "exact" | "inexact" | "cut"; done: (Error | undefined)[] } = { end: "open", done: [] };
  const intake = new Intake(framing, {
    resume: () => {},
    ended: (exact) => {
      assert.equal(told.end, "open");
      told.end = exact ? "exact" : "inexact";
    },
    cut: () => {
      assert.equal(told.end, "open");
      told.end = "cut";
    },
  });
  const pour = () => intake.pour(sink, (error) => told.done.push(error));
  intake.settle(raw.length === 0);
  let at = 0;
  for (let read = 0; at < raw.length && !intake.over; read++) {
    if (read === pourAfter) pour();
    if (intake.over) break;
    const direct = intake.space();
    const wanted = Math.max(1, pieces.length === 0 ? raw.length : (pieces[read % pieces.length] ?? 1));
    const bytes = raw.subarray(at, at + Math.min(wanted, direct?.length ?? Number.POSITIVE_INFINITY));
    at += bytes.length;
    if (direct === undefined) intake.take(Uint8Array.from(bytes));
    else {
      direct.set(bytes);
      intake.filled(bytes.length);
    }
    if (!eager) for (; read >= pourAfter && waits > 0 && !intake.over; waits--) intake.resume();
  }
  if (closes) intake.endOfConnection(undefined);
  if (at < raw.length && told.end === "exact") told.end = "inexact";
  if (told.done.length === 0) pour();
  for (let turns = 0; told.done.length === 0 && turns < 1000; turns++) intake.resume();
  intake.endOfConnection(undefined);
  assert.equal(told.done.length, 1);
  return { text: sink.bytes.toString("latin1"), error: told.done[0]?.message, end: told.end };
}

const delivery: fc.Arbitrary<Delivery> = fc.record({
  pieces: fc.array(fc.integer({ min: 1, max: 40 }), { maxLength: 5 }),
  spaces: fc.array(fc.integer({ min: 1, max: 40 }), { maxLength: 5 }),
  waitEvery: fc.integer({ min: 0, max: 3 }),
  pourAfter: fc.integer({ min: 0, max: 4 }),
  eager: fc.boolean(),
});
const content = fc.uint8Array({ maxLength: 200 }).map((bytes) => Buffer.from(bytes));

const chunk = (bytes: Buffer, extension = "") =>
  Buffer.concat([Buffer.from(`${bytes.length.toString(16)}${extension}\r\n`), bytes, Buffer.from("\r\n")]);

test("a body of known length arrives whole, whatever the pieces, spaces and waits", () => {
  fc.assert(
    fc.property(content, delivery, (bytes, how) => {
      const { text, error, end } = deliver(lengthOf(bytes.length), bytes, how);
      assert.deepEqual([text, error, end], [bytes.toString("latin1"), undefined, "exact"]);
    }),
    { numRuns: 500 },
  );
});

test("a chunked body arrives whole and without its framing", () => {
  const parts = fc.array(fc.tuple(fc.uint8Array({ minLength: 1, maxLength: 60 }), fc.constantFrom("", ";a=b", ";x")));
  const trailers = fc.constantFrom("", "a: b\r\n", "a: b\r\nc:\r\n");
  fc.assert(
    fc.property(parts, trailers, delivery, (chunks, trailer, how) => {
      const raw = Buffer.concat([
        ...chunks.map(([bytes, extension]) => chunk(Buffer.from(bytes), extension)),
        Buffer.from(`0\r\n${trailer}\r\n`),
      ]);
      const { text, error, end } = deliver(new ChunkedFraming(), raw, how);
      const wanted = Buffer.concat(chunks.map(([bytes]) => bytes)).toString("latin1");
      assert.deepEqual([text, error, end], [wanted, undefined, "exact"]);
    }),
    { numRuns: 500 },
  );
});

test("long chunks go straight into the sink's memory and end where they say", () => {
  const bytes = Buffer.alloc(300_000, "abcdefg");
  const raw = Buffer.concat([chunk(bytes), chunk(bytes.subarray(0, 10)), Buffer.from("0\r\n\r\n")]);
  for (const pieces of [[], [50_000], [7, 200_000]]) {
    const { text, error, end } = deliver(new ChunkedFraming(), raw, { ...PLAIN, pieces, spaces: [100_000, 3] });
    assert.ok(text === bytes.toString() + bytes.subarray(0, 10).toString());
    assert.deepEqual([error, end], [undefined, "exact"]);
  }
});

test("any bytes as chunks give the same content and the same end in whatever pieces they come", () => {
  const raw = fc
    .array(
      fc.constantFrom("0", "1", "5", "a", "f", ";", "\r\n", "\r\n", "\r", "\n", "x", " ", "0\r\n\r\n", "1\r\nx\r\n"),
    )
    .map((parts) => Buffer.from(parts.join("")));
  fc.assert(
    fc.property(raw, delivery, (bytes, how) => {
      const whole = deliver(new ChunkedFraming(), bytes, PLAIN);
      const cut = deliver(new ChunkedFraming(), bytes, how);
      assert.deepEqual([cut.text, cut.error], [whole.text, whole.error]);
    }),
    { numRuns: 1000 },
  );
});

test("malformed chunks are refused", () => {
  for (const bad of [
    "x\r\n",
    "\r\n",
    ";a\r\n",
    " 5\r\n",
    "5 \r\n",
    "-5\r\n",
    "+5\r\n",
    "0x5\r\n",
    "5\n",
    "5\rx",
    "10000000000000\r\n",
    "00000000000005\r\n",
    "5\r\nabcdefg\r\n",
    "5\r\nabcde\n",
    "5;a\0b\r\n",
    "5;a\nb\r\n",
    `5;${"x".repeat(1025)}\r\n`,
    "0\r\na: b\nc: d\r\n\r\n",
    "0\r\na\0: b\r\n\r\n",
    `0\r\na: ${"x".repeat(17_000)}\r\n\r\n`,
    `${"1;".padEnd(1000, "x")}\r\nx\r\n`.repeat(70),
  ]) {
    const { error, end } = deliver(new ChunkedFraming(), Buffer.from(bad), PLAIN);
    assert.ok(error !== undefined && !/ended within/.test(error), JSON.stringify(bad.slice(0, 40)));
    assert.equal(end, "cut");
  }
});

test("a body that the connection ends within is an error, after the bytes that came", () => {
  fc.assert(
    fc.property(content, delivery, (bytes, how) => {
      const { text, error, end } = deliver(lengthOf(bytes.length + 1), bytes, how, true);
      assert.deepEqual([text, end], [bytes.toString("latin1"), "cut"]);
      assert.match(error ?? "", /ended within a body/);
      const chunked = deliver(new ChunkedFraming(), chunk(Buffer.from("abc")), how, true);
      assert.deepEqual([chunked.text, chunked.end], ["abc", "cut"]);
    }),
  );
});

test("a body without a length ends with its connection, which is not used again", () => {
  fc.assert(
    fc.property(content, delivery, (bytes, how) => {
      const { text, error, end } = deliver(untilClose(), bytes, how, true);
      assert.deepEqual([text, error, end], [bytes.toString("latin1"), undefined, "inexact"]);
    }),
  );
});

test("what comes after the announced end never reaches the sink, and the connection is not used again", () => {
  fc.assert(
    fc.property(content, delivery, (bytes, how) => {
      const more = Buffer.concat([bytes, Buffer.from("HTTP/1.1 200 OK\r\n\r\n")]);
      const plain = deliver(lengthOf(bytes.length), more, how);
      assert.deepEqual([plain.text, plain.error, plain.end], [bytes.toString("latin1"), undefined, "inexact"]);
      const framed = Buffer.concat([chunk(Buffer.from("abc")), Buffer.from("0\r\n\r\ngarbage")]);
      const chunked = deliver(new ChunkedFraming(), framed, how);
      assert.deepEqual([chunked.text, chunked.error, chunked.end], ["abc", undefined, "inexact"]);
    }),
  );
});

test("a sink that throws gets its own error back, and the connection is given up", () => {
  for (const thrower of ["space", "filled"] as const) {
    let cut = 0;
    const intake = new Intake(lengthOf(10), { resume: () => {}, ended: () => assert.fail(), cut: () => (cut += 1) });
    const full = new Error("full");
    const sink = {
      space: () => {
        if (thrower === "space") throw full;
        return Buffer.alloc(4);
      },
      filled: () => {
        throw full;
      },
    };
    const errors: unknown[] = [];
    intake.take(Buffer.from("abc"));
    intake.pour(sink, (error) => errors.push(error));
    assert.deepEqual([errors, cut, intake.over], [[full], 1, true]);
    intake.resume();
    intake.destroy();
    assert.equal(cut, 1);
  }
});

test("a sink without space ends the body instead of the process's turn", () => {
  const intake = new Intake(lengthOf(10), { resume: () => {}, ended: () => assert.fail(), cut: () => {} });
  intake.take(Buffer.from("abc"));
  let said: string | undefined;
  intake.pour({ space: () => new Uint8Array(0), filled: () => true }, (error) => {
    said = error?.message;
  });
  assert.match(said ?? "", /without space/);
});

test("a body that was given up says nothing more, and one that broke before anyone poured says so then", () => {
  const line = { resume: () => {}, ended: () => {}, cut: () => {} };
  const sink = new StrictSink([9], () => true);
  const gone = new Intake(lengthOf(10), line);
  gone.destroy();
  gone.pour(sink, () => assert.fail());
  gone.endOfConnection(new Error("reset"));
  const broken = new Intake(lengthOf(10), line);
  broken.take(Buffer.from("abc"));
  broken.endOfConnection(new Error("reset"));
  const errors: unknown[] = [];
  broken.pour(sink, (error) => errors.push(error?.message));
  assert.deepEqual([errors, sink.bytes.toString()], [["reset"], "abc"]);
});

test("a sink that resumes before it says that it must wait is not forgotten", () => {
  let resumed = 0;
  const intake = new Intake(lengthOf(6), { resume: () => (resumed += 1), ended: () => {}, cut: () => assert.fail() });
  const sink = {
    space: () => Buffer.alloc(1),
    filled: () => {
      intake.resume();
      return false;
    },
  };
  let ended = false;
  intake.pour(sink, () => {
    ended = true;
  });
  intake.take(Buffer.from("abcdef"));
  assert.ok(ended && resumed === 1);
});

test("more than TLS can bring after it was told to stop ends the body", () => {
  const intake = new Intake(lengthOf(2 ** 30), { resume: () => {}, ended: () => assert.fail(), cut: () => {} });
  for (let turn = 0; turn < 20; turn++) intake.take(Buffer.alloc(64 * 1024));
  assert.ok(intake.over);
  intake.pour(new StrictSink([9], () => true), (error) => assert.ok(error instanceof WireFault));
});
