/** Content that is streamed through: all of it where it is right, never its end where it is wrong. */
import assert from "node:assert/strict";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { test } from "node:test";
import fc from "fast-check";
import { isFailure } from "../../src/base/failure.ts";
import { VerifiedStream } from "../../src/mirror/barrier.ts";
import { type Digest, digestOf } from "../../src/oci/digest.ts";
import { BARRIER_BYTES } from "../../src/store/blobstore.ts";
import { seededBytes } from "../kit/content.ts";

function chunked(bytes: Buffer, lengths: readonly number[]): Buffer[] {
  const chunks: Buffer[] = [];
  for (let at = 0, turn = 0; at < bytes.length; turn += 1) {
    const length = Math.max(1, lengths[turn % lengths.length] ?? 1);
    chunks.push(bytes.subarray(at, at + length));
    at += length;
  }
  return chunks;
}

/** What came out before the end, and how it ended. */
async function pass(chunks: Iterable<Buffer>, digest: Digest): Promise<{ bytes: Buffer; error: unknown }> {
  const out: Buffer[] = [];
  try {
    await pipeline(Readable.from(chunks), new VerifiedStream(digest), async (source: AsyncIterable<Buffer>) => {
      for await (const chunk of source) out.push(chunk);
    });
    return { bytes: Buffer.concat(out), error: undefined };
  } catch (error) {
    return { bytes: Buffer.concat(out), error };
  }
}

const size = fc.oneof(fc.nat(300_000), fc.constantFrom(0, 1, BARRIER_BYTES - 1, BARRIER_BYTES, BARRIER_BYTES + 1));
const lengths = fc.array(
  fc.integer({ min: 1, max: 120_000 }).map((n) => Math.max(n, 100)),
  { minLength: 1, maxLength: 6 },
);

test("right content passes whole, however it is cut", async () => {
  await fc.assert(
    fc.asyncProperty(size, lengths, async (sizeBytes, cuts) => {
      const bytes = seededBytes(sizeBytes, 7);
      const passed = await pass(chunked(bytes, cuts), digestOf(bytes));
      assert.equal(passed.error, undefined);
      assert.ok(passed.bytes.equals(bytes));
    }),
    { numRuns: 60 },
  );
});

test("the last 64 KiB of wrong content never come out, however it is cut", async () => {
  await fc.assert(
    fc.asyncProperty(size, lengths, async (sizeBytes, cuts) => {
      const bytes = seededBytes(sizeBytes, 7);
      const passed = await pass(chunked(bytes, cuts), digestOf(Buffer.from("something else")));
      assert.ok(isFailure(passed.error, "corrupt"));
      assert.ok(passed.bytes.length <= Math.max(0, sizeBytes - BARRIER_BYTES));
      assert.ok(passed.bytes.equals(bytes.subarray(0, passed.bytes.length)));
    }),
    { numRuns: 60 },
  );
});

test("content that ends short or goes on too long is wrong content", async () => {
  const bytes = seededBytes(200_000);
  const digest = digestOf(bytes);
  for (const wrong of [bytes.subarray(0, -1), Buffer.concat([bytes, Buffer.from("x")]), Buffer.alloc(0)]) {
    const passed = await pass(chunked(wrong, [10_000]), digest);
    assert.ok(isFailure(passed.error, "corrupt"));
    assert.ok(passed.bytes.length <= Math.max(0, wrong.length - BARRIER_BYTES));
  }
});

test("bytes before the last 64 KiB come out while the rest is still awaited", async () => {
  const bytes = seededBytes(200_000);
  const stream = new VerifiedStream(digestOf(bytes));
  let passed = 0;
  stream.on("data", (chunk: Buffer) => {
    passed += chunk.length;
  });
  for (const chunk of chunked(bytes.subarray(0, 150_000), [10_000])) stream.write(chunk);
  for (let turn = 0; turn < 10; turn += 1) await new Promise((resolve) => setImmediate(resolve));
  assert.equal(passed, 80_000);
  stream.destroy();
});

test("a sha512 digest is verified as one", async () => {
  const bytes = seededBytes(1000);
  assert.ok((await pass([bytes], digestOf(bytes, "sha512"))).bytes.equals(bytes));
});
