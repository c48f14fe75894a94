/**
 * Heads of answers: what is read, what is refused, and that it does not matter in which pieces they come.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { WireFault } from "../../../src/upstream/wire/fault.ts";
import { framingOf } from "../../../src/upstream/wire/framing.ts";
import { type Head, HeadReader, MAX_HEAD_BYTES } from "../../../src/upstream/wire/head.ts";
import { keepMsOf } from "../../../src/upstream/wire/keeping.ts";

function read(text: string, cuts: readonly number[] = []): { head: Head | undefined; rest: string } {
  const bytes = Buffer.from(text, "latin1");
  const reader = new HeadReader();
  const edges = [...cuts.map((cut) => cut % (bytes.length + 1)), bytes.length].sort((a, b) => a - b);
  let from = 0;
  for (const to of edges) {
    const piece = bytes.subarray(from, to);
    const at = reader.feed(piece);
    if (reader.head !== undefined) return { head: reader.head, rest: bytes.subarray(from + at).toString("latin1") };
    assert.equal(at, piece.length);
    from = to;
  }
  return { head: undefined, rest: "" };
}

/** The head's fields and what is wrong with it, for comparison. */
function outcome(text: string, cuts?: readonly number[]) {
  try {
    const { head, rest } = read(text, cuts);
    return { ...head, headers: { ...head?.headers }, rest };
  } catch (error) {
    assert.ok(error instanceof WireFault, String(error));
    return error.message;
  }
}

const headOf = (fields: string, status = "HTTP/1.1 200 OK") => {
  const { head } = read(`${status}\r\n${fields}\r\n`);
  return head ?? assert.fail("no head");
};

test("a head is read with its fields in lower case, and what comes after it is left", () => {
  assert.deepEqual(
    outcome("HTTP/1.1 206 Partial\r\nContent-Length:  5 \t\r\nX: a\r\nx:b\r\n__proto__: c\r\n\r\nbody\r\n\r\n"),
    {
      minor: 1,
      status: 206,
      headers: { "content-length": "5", x: ["a", "b"], ["__proto__"]: "c" },
      rest: "body\r\n\r\n",
    },
  );
  for (const line of ["HTTP/1.0 200 OK", "HTTP/1.1 200", "HTTP/1.1 200 ", "HTTP/1.1 404 Não\t"]) headOf("", line);
});

test("what is no head is refused", () => {
  const good = "HTTP/1.1 200 OK\r\n";
  for (const bad of [
    "HTTP/2 200 OK\r\n\r\n",
    "HTTP/1.1 2000 OK\r\n\r\n",
    "HTTP/1.1 099 OK\r\n\r\n",
    "HTTP/1.1 700 OK\r\n\r\n",
    "HTTP/1.1  200 OK\r\n\r\n",
    "HTTP/1.1 200OK\r\n\r\n",
    "HTTP/1.1 200 O\0K\r\n\r\n",
    "http/1.1 200 OK\r\n\r\n",
    "HTTP/1.2 200 OK\r\n\r\n",
    "\r\nHTTP/1.1 200 OK\r\n\r\n",
    "SSH-2.0-OpenSSH",
    "\x15\x03\x01",
    "HTTP/1.1 200 OK\n\n",
    `${good}a: b\n\r\n`,
    `${good}a: b\r\r\n\r\n`,
    `${good}a: b\rc\r\n\r\n`,
    `${good}a: b\0c\r\n\r\n`,
    `${good}a: b\x7f\r\n\r\n`,
    `${good}a : b\r\n\r\n`,
    `${good} a: b\r\n\r\n`,
    `${good}a: b\r\n folded\r\n\r\n`,
    `${good}a: b\r\n\tfolded\r\n\r\n`,
    `${good}: b\r\n\r\n`,
    `${good}a\r\n\r\n`,
    `${good}a(b): c\r\n\r\n`,
    `${good}\xe4: c\r\n\r\n`,
  ]) {
    assert.equal(typeof outcome(bad), "string", JSON.stringify(bad));
  }
});

test("heads are bounded in bytes and in fields, also over interim answers", () => {
  const fields = (count: number) => "a: b\r\n".repeat(count);
  headOf(fields(200));
  assert.throws(() => headOf(fields(201)), /too many/);
  assert.throws(() => headOf(`a: ${"b".repeat(MAX_HEAD_BYTES)}\r\n`), /too large/);
  assert.throws(() => read("HTTP/1.1 200 OK".padEnd(MAX_HEAD_BYTES + 1, "x")), /too large/);
  const reader = new HeadReader();
  const interim = Buffer.from(`HTTP/1.1 103 Early\r\nlink: ${"x".repeat(16_000)}\r\n\r\n`);
  assert.throws(() => {
    for (let turn = 0; turn < 5; turn++) {
      reader.feed(interim);
      reader.again();
    }
  }, /too large/);
});

test("a head is the same in whatever pieces it comes", () => {
  const text = fc.oneof(
    fc.constantFrom(
      "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nA: \r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
      "HTTP/1.1 204 \r\n\r\n",
      "HTTP/1.1 200 OK\r\na: b\r\n c\r\n\r\n",
      "HTTP/1.1 200 OK\r\na: b\n\r\n",
    ),
    fc.string({ unit: fc.constantFrom("HTTP/1.1 200 OK\r\n", "a", ":", " ", "\r\n", "\r", "\n", "\0", "b: c\r\n") }),
  );
  fc.assert(
    fc.property(text, fc.array(fc.nat(200)), (head, cuts) => {
      const whole = outcome(head);
      const cut = outcome(head, cuts);
      // A beginning of something else is refused as soon as it shows.
      if (typeof whole === "string") assert.equal(typeof cut, "string");
      else if (!(whole.status === undefined && typeof cut === "string")) assert.deepEqual(cut, whole);
    }),
    { numRuns: 500 },
  );
});

test("no bytes make the reader fail otherwise than by saying so", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
      outcome(`HTTP/1.1 200 OK\r\n${Buffer.from(bytes).toString("latin1")}\r\n\r\n`);
    }),
    { numRuns: 500 },
  );
});

test("where a body ends is said once and plainly, or the answer is refused", () => {
  const framing = (fields: string, method = "GET", status?: string) => framingOf(method, headOf(fields, status));
  for (const bad of [
    "content-length: 5\r\ncontent-length: 5\r\n",
    "content-length: 5\r\ncontent-length: 6\r\n",
    "content-length: 5, 5\r\n",
    "content-length: -1\r\n",
    "content-length: +5\r\n",
    "content-length: 0x5\r\n",
    "content-length: 5 5\r\n",
    "content-length:\r\n",
    "content-length: 9999999999999999\r\n",
    "transfer-encoding: chunked\r\ncontent-length: 5\r\n",
    "transfer-encoding: gzip\r\n",
    "transfer-encoding: gzip, chunked\r\n",
    "transfer-encoding: chunked, chunked\r\n",
    "transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n",
    "transfer-encoding: identity\r\n",
    "transfer-encoding:\r\n",
    "transfer-encoding: xchunked\r\n",
  ]) {
    assert.throws(() => framing(bad), WireFault, bad);
    assert.throws(() => framing(bad, "HEAD"), WireFault, bad);
  }
  assert.throws(() => framing("transfer-encoding: chunked\r\n", "GET", "HTTP/1.0 200 OK"), WireFault);
  assert.equal(framing("content-length: 5\r\n").content, 5);
  assert.ok(framing("content-length: 0\r\n").ended);
  assert.ok(framing("content-length: 5\r\n", "HEAD").ended);
  for (const status of [204, 304]) assert.ok(framing("", "GET", `HTTP/1.1 ${status} x`).ended);
  assert.equal(framing("Transfer-Encoding: Chunked\r\n").plain, false);
  const untilClose = framing("");
  assert.deepEqual([untilClose.reusable, untilClose.endOfConnection()], [false, true]);
  assert.equal(framing("content-length: 5\r\n").endOfConnection(), false);
});

test("a connection is kept for 15 s or what the server says less, and not after anything unusual", () => {
  const keep = (fields: string, status?: string) => keepMsOf(headOf(fields, status));
  assert.equal(keep(""), 15_000);
  assert.equal(keep("connection: keep-alive\r\nkeep-alive: timeout=5, max=100\r\n"), 4000);
  assert.equal(keep("keep-alive: max=3 , Timeout = 100\r\n"), 15_000);
  for (const unusual of [
    "connection: close\r\n",
    "connection: keep-alive, Close\r\n",
    "connection: keep-alive\r\nconnection: close\r\n",
    "connection: upgrade\r\n",
    "keep-alive: timeout=0\r\n",
    "keep-alive: timeout=1\r\n",
    "keep-alive: timeout=-5\r\n",
    "keep-alive: timeout=soon\r\n",
    "keep-alive: timeout=5;\r\n",
    "keep-alive: timeout=5, max=0\r\n",
    "keep-alive: timeout=99999999999\r\n",
  ]) {
    assert.equal(keep(unusual), 0, unusual);
  }
  assert.equal(keep("connection: keep-alive\r\n", "HTTP/1.0 200 OK"), 0);
});
