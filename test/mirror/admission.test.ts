/** Whether the store takes one more blob. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { findRefusal } from "../../src/mirror/admission.ts";

test("a blob is taken up to the limits, and refused beyond them with the reason", () => {
  const limits = { maxBytes: 1000, minFreeBytes: 100 };
  for (const [storedBytes, freeBytes, sizeBytes, refusal] of [
    [0, 10_000, 1000, undefined],
    [0, 10_000, 1001, "cache-full"],
    [500, 10_000, 500, undefined],
    [500, 10_000, 501, "cache-full"],
    [1000, 10_000, 0, undefined],
    [1001, 10_000, 0, "cache-full"],
    [0, 200, 100, undefined],
    [0, 200, 101, "disk-full"],
    [0, 99, 0, "disk-full"],
    [1000, 0, 1, "cache-full"],
  ] as const) {
    assert.equal(findRefusal(limits, { storedBytes, freeBytes }, sizeBytes), refusal);
  }
});

test("without a limit of our own only the file system counts", () => {
  const limits = { maxBytes: undefined, minFreeBytes: 0 };
  assert.equal(findRefusal(limits, { storedBytes: 2 ** 50, freeBytes: 1 }, 1), undefined);
  assert.equal(findRefusal(limits, { storedBytes: 0, freeBytes: 1 }, 2), "disk-full");
});

test("what is taken never breaks a limit, and a smaller blob is taken wherever a larger one is", () => {
  const bytes = fc.nat(10_000);
  fc.assert(
    fc.property(
      bytes,
      bytes,
      bytes,
      bytes,
      bytes,
      bytes,
      (maxBytes, minFreeBytes, storedBytes, freeBytes, size, less) => {
        const limits = { maxBytes, minFreeBytes };
        const state = { storedBytes, freeBytes };
        if (findRefusal(limits, state, size) !== undefined) return;
        assert.ok(storedBytes + size <= maxBytes && freeBytes - size >= minFreeBytes);
        assert.equal(findRefusal(limits, state, Math.min(size, less)), undefined);
      },
    ),
  );
});
