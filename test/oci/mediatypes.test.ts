/** Media types as headers carry them. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import * as types from "../../src/oci/mediatypes.ts";

const { ACCEPT_MANIFESTS, findMediaType } = types;

test("the Accept header asks for every manifest type by name, and for anything", () => {
  const asked = ACCEPT_MANIFESTS.split(", ");
  for (const type of Object.values(types).filter((value) => typeof value === "string" && value !== ACCEPT_MANIFESTS)) {
    assert.ok(asked.includes(String(type)), String(type));
  }
  assert.equal(asked.at(-1), "*/*");
  assert.equal(new Set(asked).size, asked.length);
});

test("a media type is read without its parameters, in lower case", () => {
  assert.equal(findMediaType("Application/JSON; charset=utf-8"), "application/json");
  assert.equal(findMediaType(" text/plain "), "text/plain");
  assert.equal(findMediaType(types.OCI_INDEX), types.OCI_INDEX);
  assert.equal(findMediaType("a/b;"), "a/b");
});

test("what is no media type is none", () => {
  for (const bad of [
    undefined,
    "",
    ";",
    "text",
    "text/",
    "/plain",
    "a/b/c",
    "a b/c",
    "*/*",
    "a/b, c/d",
    "a/\n",
    `a/${"x".repeat(300)}`,
  ]) {
    assert.equal(findMediaType(bad), undefined, String(bad));
  }
});

test("whatever is read as a media type can stand in a header", () => {
  fc.assert(
    fc.property(fc.oneof(fc.string(), fc.string({ unit: fc.constantFrom(...'aZ9/+.-; *\n"') })), (text) => {
      const found = findMediaType(text);
      if (found !== undefined) assert.match(found, /^[!-:<-~]{1,127}\/[!-:<-~]{1,127}$/);
    }),
  );
});
