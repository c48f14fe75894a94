/** Names, tags and references: every valid one is read, no hostile one is. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { isFailure } from "../../src/base/failure.ts";
import { digestOf } from "../../src/oci/digest.ts";
import { parseReference, parseRepository, parseTag, referenceText } from "../../src/oci/reference.ts";

const refusedAs = (code: string) => (error: unknown) => isFailure(error, "invalid") && error.code === code;

const word = fc.stringMatching(/^[a-z0-9]{1,8}$/);
const separator = fc.oneof(
  fc.constantFrom(".", "_", "__"),
  fc.integer({ min: 1, max: 5 }).map((n) => "-".repeat(n)),
);
const component = fc
  .tuple(word, fc.array(fc.tuple(separator, word), { maxLength: 3 }))
  .map(([first, rest]) => first + rest.map(([between, next]) => between + next).join(""));
const name = fc
  .array(component, { minLength: 1, maxLength: 5 })
  .map((parts) => parts.join("/"))
  .filter((text) => text.length <= 255);
const tag = fc.stringMatching(/^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$/).filter((text) => text.length <= 128);

test("every name of the specification's grammar is read as it is", () => {
  fc.assert(fc.property(name, (text) => assert.equal(parseRepository(text), text)));
  for (const text of ["a", "library/alpine", "a--b", "a__b", "a.b_c-d/e", "0", "x".repeat(255), "a-------b/c"]) {
    assert.equal(parseRepository(text), text);
  }
});

test("a name that is none is refused", () => {
  for (const bad of [
    "",
    "/",
    "a/",
    "/a",
    "a//b",
    "A",
    "library/Alpine",
    ".a",
    "a.",
    "a..b",
    "a___b",
    "a._b",
    "-a",
    "a-",
    "_a",
    "..",
    "../a",
    "a/../b",
    "a/./b",
    "a b",
    "a\n",
    "a\0",
    "a%2fb",
    "a\\b",
    "a:b",
    "a@b",
    "a?b",
    "ä",
    "x".repeat(256),
  ]) {
    assert.throws(() => parseRepository(bad), refusedAs("NAME_INVALID"), JSON.stringify(bad));
  }
});

test("what is read as a name is never more than path components of lower-case words", () => {
  fc.assert(
    fc.property(fc.oneof(fc.string(), fc.string({ unit: fc.constantFrom(..."ab0._-/") })), (text) => {
      let read: string;
      try {
        read = parseRepository(text);
      } catch (error) {
        assert.ok(refusedAs("NAME_INVALID")(error));
        return;
      }
      assert.equal(read, text);
      assert.match(read, /^[a-z0-9/._-]{1,255}$/);
      for (const part of read.split("/")) assert.match(part, /^[a-z0-9](?:.*[a-z0-9])?$/);
      assert.ok(!read.includes(".."));
    }),
    { numRuns: 500 },
  );
});

test("a name made to cost time is refused for its length, or read in one pass", () => {
  // Were the expression ambiguous, any of these would hold the process for longer than the suite may run.
  for (const unit of ["a", "a-", "a.", "a_", "a__", "a/", "-", "a-a"]) {
    for (const length of [254, 255, 256, 100_000]) {
      const hostile = `${unit.repeat(length).slice(0, length - 1)}!`;
      assert.throws(() => parseRepository(hostile), refusedAs("NAME_INVALID"));
    }
  }
});

test("every tag of the specification's grammar is read as it is", () => {
  fc.assert(fc.property(tag, (text) => assert.equal(parseTag(text), text)));
  for (const text of ["latest", "_", "3.20", "V1", "a".repeat(128), "0-..--__"]) assert.equal(parseTag(text), text);
});

test("a tag that is none is refused", () => {
  for (const bad of [
    "",
    ".",
    "..",
    "-a",
    ".a",
    "a/b",
    "a b",
    "a\n",
    "a\0",
    "a%",
    "a+b",
    "ä",
    "a".repeat(129),
    "../x",
  ]) {
    assert.throws(() => parseTag(bad), refusedAs("MANIFEST_INVALID"), JSON.stringify(bad));
  }
});

test("a reference with a colon is a digest or nothing", () => {
  const digest = digestOf(Buffer.from("x"));
  assert.deepEqual(parseReference(digest), { type: "digest", digest });
  assert.deepEqual(parseReference("latest"), { type: "tag", tag: "latest" });
  assert.throws(() => parseReference("sha256:abc"), refusedAs("DIGEST_INVALID"));
  assert.throws(() => parseReference("a:b"), refusedAs("DIGEST_INVALID"));
  assert.throws(() => parseReference(""), refusedAs("MANIFEST_INVALID"));
  assert.throws(() => parseReference(".."), refusedAs("MANIFEST_INVALID"));
});

test("a reference is written as it was read", () => {
  fc.assert(
    fc.property(
      fc.oneof(
        tag,
        fc.uint8Array().map((bytes) => digestOf(bytes) as string),
      ),
      (text) => assert.equal(referenceText(parseReference(text)), text),
    ),
  );
});
