/** The error envelope. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { errorEnvelope, OCI_CODES } from "../../src/oci/codes.ts";

test("an envelope holds one error with its code, message and detail", () => {
  assert.deepEqual(JSON.parse(errorEnvelope("NAME_INVALID", 'a "quoted" name\n', { name: "A" })), {
    errors: [{ code: "NAME_INVALID", message: 'a "quoted" name\n', detail: { name: "A" } }],
  });
});

test("an error with no detail has no such member", () => {
  assert.deepEqual(JSON.parse(errorEnvelope("DENIED", "no")), { errors: [{ code: "DENIED", message: "no" }] });
  assert.deepEqual(JSON.parse(errorEnvelope("DENIED", "no", null)), {
    errors: [{ code: "DENIED", message: "no", detail: null }],
  });
});

test("codes are of capital letters and underscores, as the specification wants, and each is listed once", () => {
  for (const code of OCI_CODES) assert.match(code, /^[A-Z_]+$/);
  assert.equal(new Set(OCI_CODES).size, OCI_CODES.length);
});
