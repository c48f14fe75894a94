/** Conditional requests on content whose entity tag is its digest. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { judgeConditions, matches, rangeCounts } from "../../src/http/conditional.ts";
import { digestOf } from "../../src/oci/digest.ts";

const DIGEST = digestOf(Buffer.from("this"));
const OTHER = digestOf(Buffer.from("other"));

test("a tag matches quoted, unquoted, in a list, and by a star", () => {
  for (const header of [
    `"${DIGEST}"`,
    DIGEST,
    ` "${DIGEST}" `,
    `"${OTHER}", "${DIGEST}"`,
    `"a","${DIGEST}"`,
    "*",
    " * ",
  ]) {
    assert.equal(matches(header, DIGEST, "weak"), true, header);
    assert.equal(matches(header, DIGEST, "strong"), true, header);
  }
});

test("a weak tag matches weakly only", () => {
  assert.equal(matches(`W/"${DIGEST}"`, DIGEST, "weak"), true);
  assert.equal(matches(`W/"${DIGEST}"`, DIGEST, "strong"), false);
  assert.equal(matches(`W/"${OTHER}", "${DIGEST}"`, DIGEST, "strong"), true);
});

test("another tag, half a tag or no tag does not match", () => {
  for (const header of [
    "",
    ",",
    `"${OTHER}"`,
    `"${DIGEST}`,
    `${DIGEST}"`,
    `"${DIGEST.slice(0, -1)}"`,
    `w/"${DIGEST}"`,
    `"${DIGEST}x"`,
  ]) {
    assert.equal(matches(header, DIGEST, "weak"), false, header);
  }
});

test("If-Match comes first, then If-None-Match", () => {
  assert.equal(judgeConditions({}, DIGEST), undefined);
  assert.equal(judgeConditions({ "if-none-match": `"${DIGEST}"` }, DIGEST), 304);
  assert.equal(judgeConditions({ "if-none-match": `W/"${DIGEST}"` }, DIGEST), 304);
  assert.equal(judgeConditions({ "if-none-match": "*" }, DIGEST), 304);
  assert.equal(judgeConditions({ "if-none-match": `"${OTHER}"` }, DIGEST), undefined);
  assert.equal(judgeConditions({ "if-match": `"${DIGEST}"` }, DIGEST), undefined);
  assert.equal(judgeConditions({ "if-match": "*" }, DIGEST), undefined);
  assert.equal(judgeConditions({ "if-match": `"${OTHER}"` }, DIGEST), 412);
  assert.equal(judgeConditions({ "if-match": `W/"${DIGEST}"` }, DIGEST), 412);
  assert.equal(judgeConditions({ "if-match": `"${OTHER}"`, "if-none-match": `"${DIGEST}"` }, DIGEST), 412);
  assert.equal(judgeConditions({ "if-match": `"${DIGEST}"`, "if-none-match": `"${DIGEST}"` }, DIGEST), 304);
});

test("a range counts without If-Range, or where that names this very content", () => {
  assert.equal(rangeCounts({}, DIGEST), true);
  assert.equal(rangeCounts({ "if-range": `"${DIGEST}"` }, DIGEST), true);
  for (const header of [`"${OTHER}"`, `W/"${DIGEST}"`, "*", "Thu, 01 Jan 2026 00:00:00 GMT", ""]) {
    assert.equal(rangeCounts({ "if-range": header }, DIGEST), false, header);
  }
});

test("text that does not hold the digest never matches", () => {
  fc.assert(
    fc.property(fc.string(), fc.constantFrom("weak", "strong"), (text, comparison) => {
      if (text.trim() !== "*") assert.equal(matches(text, DIGEST, comparison), false);
    }),
  );
});
