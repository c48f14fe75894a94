/**
 * Digests, as the OCI image specification defines them (descriptor.md, "Digests").
 *
 * A `Digest` is a string that has been checked: a registered algorithm and exactly its number of lower-case hex
 * characters. It is safe as a path component and as a map key. Only sha256 and sha512 exist here.
 */
import { createHash, type Hash } from "node:crypto";
import { Failure } from "../base/failure.ts";

declare const digestBrand: unique symbol;
export type Digest = string & { readonly [digestBrand]: true };

export type DigestAlgorithm = "sha256" | "sha512";

const SHAPE = /^(?:sha256:[a-f0-9]{64}|sha512:[a-f0-9]{128})$/;

/** True for the text of a digest this mirror can verify. */
export function isDigest(text: string): text is Digest {
  return SHAPE.test(text);
}

/** @throws Failure `invalid` with code DIGEST_INVALID. */
export function parseDigest(text: string): Digest {
  if (isDigest(text)) return text;
  throw new Failure("invalid", "not a digest: expected sha256:<64 hex> or sha512:<128 hex>, in lower case", {
    code: "DIGEST_INVALID",
    detail: { digest: text.slice(0, 200) },
  });
}

export function algorithmOf(digest: Digest): DigestAlgorithm {
  return digest.startsWith("sha256:") ? "sha256" : "sha512";
}

/** The part behind the colon. */
export function hexOf(digest: Digest): string {
  return digest.slice(7);
}

export function digestOf(bytes: Uint8Array, algorithm: DigestAlgorithm = "sha256"): Digest {
  return finishDigest(algorithm, createHash(algorithm).update(bytes));
}

/** Ends a running hash; the hash cannot be used afterwards. */
export function finishDigest(algorithm: DigestAlgorithm, hash: Hash): Digest {
  return `${algorithm}:${hash.digest("hex")}` as Digest;
}
