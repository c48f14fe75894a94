/** Digests: what is one, and that it is computed right. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";
import fc from "fast-check";
import { isFailure } from "../../src/base/failure.ts";
import { algorithmOf, digestOf, finishDigest, hexOf, isDigest, parseDigest } from "../../src/oci/digest.ts";

const HEX = fc.constantFrom(..."0123456789abcdef");
const hex = (length: number) =>
  fc.array(HEX, { minLength: length, maxLength: length }).map((digits) => digits.join(""));

test("sha256 with 64 and sha512 with 128 lower-case hex digits are digests", () => {
  fc.assert(
    fc.property(hex(64), hex(128), (short, long) => {
      for (const [algorithm, text] of [
        ["sha256", short],
        ["sha512", long],
      ] as const) {
        const digest = parseDigest(`${algorithm}:${text}`);
        assert.equal(algorithmOf(digest), algorithm);
        assert.equal(hexOf(digest), text);
      }
    }),
  );
});

test("anything else is refused as an invalid digest", () => {
  const good = `sha256:${"a".repeat(64)}`;
  for (const bad of [
    "",
    "sha256",
    "sha256:",
    "sha256:abc",
    good.toUpperCase(),
    `sha256:${"A".repeat(64)}`,
    `sha256:${"g".repeat(64)}`,
    `sha256:${"a".repeat(63)}`,
    `sha256:${"a".repeat(65)}`,
    `sha256:${"a".repeat(128)}`,
    `sha512:${"a".repeat(64)}`,
    `sha1:${"a".repeat(40)}`,
    `md5:${"a".repeat(32)}`,
    `sha384:${"a".repeat(96)}`,
    `blake3:${"a".repeat(64)}`,
    ` ${good}`,
    `${good} `,
    `${good}\n`,
    `${good}\0`,
    `${good}/..`,
    `sha256:../${"a".repeat(61)}`,
    `sha256:${"ａ".repeat(64)}`,
    `${good},${good}`,
  ]) {
    assert.equal(isDigest(bad), false, bad);
    assert.throws(
      () => parseDigest(bad),
      (error) => isFailure(error, "invalid") && error.code === "DIGEST_INVALID",
    );
  }
});

test("no text but a digest passes, and what passes is safe in a path", () => {
  fc.assert(
    fc.property(fc.oneof(fc.string(), hex(64), fc.string({ unit: "binary", maxLength: 200 })), (text) => {
      if (isDigest(text)) assert.match(text, /^sha(256|512):[0-9a-f]+$/);
      else
        assert.throws(
          () => parseDigest(text),
          (error) => isFailure(error, "invalid"),
        );
    }),
  );
});

test("the refusal of an endless text holds only its beginning", () => {
  assert.throws(
    () => parseDigest("x".repeat(1_000_000)),
    (error) => isFailure(error) && JSON.stringify(error.detail).length < 400,
  );
});

test("bytes are hashed with the algorithm that is asked for", () => {
  const bytes = Buffer.from("hello");
  assert.equal(digestOf(bytes), "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824");
  assert.equal(digestOf(Buffer.alloc(0)), "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  assert.equal(digestOf(bytes, "sha512"), `sha512:${createHash("sha512").update(bytes).digest("hex")}`);
  assert.equal(finishDigest("sha256", createHash("sha256").update("hel").update("lo")), digestOf(bytes));
});
