/** Request ids: taken over where they are well-formed, made where not. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { findRequestId, newRequestId } from "../../src/http/requestid.ts";

test("a well-formed id is taken over", () => {
  for (const id of ["12345678", "a".repeat(128), "7f4df2a0-5e2c-4b2e-9d0a-1f2e3d4c5b6a", "A_b.c-123"]) {
    assert.equal(findRequestId(id), id);
  }
});

test("anything else is not: too short, too long, not plain, or more than one", () => {
  for (const id of [
    undefined,
    "",
    "1234567",
    "a".repeat(129),
    "has space",
    "new\nline1",
    'quote"12345',
    "ümlaut-12",
    ["12345678"],
  ]) {
    assert.equal(findRequestId(id), undefined);
  }
});

test("ids made here are well-formed and never the same", () => {
  const ids = Array.from({ length: 1000 }, newRequestId);
  assert.equal(new Set(ids).size, 1000);
  for (const id of ids) assert.equal(findRequestId(id), id);
});
