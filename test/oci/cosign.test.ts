/** Tags that say what their manifest is about. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { findTagSubject } from "../../src/oci/cosign.ts";
import { parseTag } from "../../src/oci/reference.ts";

const HEX = "0123456789abcdef".repeat(4);

test("cosign's tags name the digest that they are about", () => {
  for (const suffix of ["sig", "att", "sbom"]) {
    assert.equal(findTagSubject(parseTag(`sha256-${HEX}.${suffix}`)), `sha256:${HEX}`);
  }
});

test("other tags are about nothing", () => {
  for (const tag of [
    "latest",
    `sha256-${HEX}`,
    `sha256-${HEX}.txt`,
    `sha256-${HEX.slice(1)}.sig`,
    `sha512-${HEX}.sig`,
    `md5-${HEX}.sig`,
  ]) {
    assert.equal(findTagSubject(parseTag(tag)), undefined, tag);
  }
});
