/** The body of a multi-range answer is as long as it says, and says which bytes are which. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { planMultipart } from "../../src/http/multipart.ts";
import { seededBytes } from "../kit/content.ts";

const CONTENT = seededBytes(10_000);

function bodyOf(plan: ReturnType<typeof planMultipart>): Buffer {
  return Buffer.concat(
    plan.pieces.map((piece) => (Buffer.isBuffer(piece) ? piece : CONTENT.subarray(piece.start, piece.end + 1))),
  );
}

/** Reads a multipart body the way a client does. */
function partsOf(body: Buffer, boundary: string): { headers: string; content: Buffer }[] {
  const text = body.toString("latin1");
  assert.ok(text.startsWith(`--${boundary}\r\n`) && text.endsWith(`\r\n--${boundary}--\r\n`));
  return text
    .slice(`--${boundary}\r\n`.length, -`\r\n--${boundary}--\r\n`.length)
    .split(`\r\n--${boundary}\r\n`)
    .map((part) => {
      const split = part.indexOf("\r\n\r\n");
      return { headers: part.slice(0, split), content: Buffer.from(part.slice(split + 4), "latin1") };
    });
}

const ranges = fc
  .array(fc.tuple(fc.nat(9_999), fc.nat(500)), { minLength: 2, maxLength: 8 })
  .map((pairs) => pairs.map(([start, length]) => ({ start, end: Math.min(9_999, start + length) })));

test("the announced length is that of all pieces, and every part says which bytes it holds", () => {
  fc.assert(
    fc.property(ranges, (asked) => {
      const plan = planMultipart(asked, CONTENT.length, "application/octet-stream");
      const body = bodyOf(plan);
      assert.equal(plan.contentLength, body.length);
      const boundary = /^multipart\/byteranges; boundary=([0-9A-Za-z]{1,70})$/.exec(plan.contentType)?.[1];
      assert.ok(boundary);
      const parts = partsOf(body, boundary);
      assert.equal(parts.length, asked.length);
      for (const [at, range] of asked.entries()) {
        assert.ok(parts[at]?.headers.includes(`Content-Range: bytes ${range.start}-${range.end}/10000`));
        assert.ok(parts[at]?.headers.includes("Content-Type: application/octet-stream"));
        assert.deepEqual(parts[at]?.content, CONTENT.subarray(range.start, range.end + 1));
      }
    }),
  );
});

test("a boundary cannot be guessed from the last one", () => {
  const twice = [1, 2].map(() => planMultipart([{ start: 0, end: 1 }], 10, "a/b").contentType);
  assert.notEqual(twice[0], twice[1]);
});
