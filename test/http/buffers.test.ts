/** Memory that is lent: never to two at once, and less for each the more is out. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Buffers } from "../../src/http/buffers.ts";

const KIB = 1024;
const MIB = 1024 * KIB;

test("a buffer is no larger than what is wanted calls for, and no larger than a mebibyte", () => {
  const buffers = new Buffers();
  assert.equal(buffers.lend(4000).length, 4096);
  assert.equal(buffers.lend(64 * KIB).length, 64 * KIB);
  assert.equal(buffers.lend(1024 * MIB).length, MIB);
});

test("what was given back is lent again, and never to two at once", () => {
  const buffers = new Buffers();
  const first = buffers.lend(MIB);
  const second = buffers.lend(MIB);
  assert.notEqual(first, second);
  buffers.giveBack(first);
  assert.equal(buffers.lend(MIB), first);
  assert.notEqual(buffers.lend(MIB), second);
});

test("thousands who give nothing back share a budget, and each gets something", () => {
  const buffers = new Buffers();
  const sizes = Array.from({ length: 4000 }, () => buffers.lend(MIB).length);
  assert.equal(sizes[0], MIB);
  assert.equal(sizes.at(-1), 16 * KIB);
  assert.ok(sizes.every((size, at) => at === 0 || size <= (sizes[at - 1] ?? 0)));
  assert.ok(buffers.lentBytes <= 64 * MIB + 4000 * 16 * KIB);
});

test("when they give back, there is plenty again", () => {
  const buffers = new Buffers();
  const lent = Array.from({ length: 2000 }, () => buffers.lend(MIB));
  for (const buffer of lent) buffers.giveBack(buffer);
  assert.equal(buffers.lentBytes, 0);
  assert.equal(buffers.lend(MIB).length, MIB);
});
