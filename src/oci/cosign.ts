/**
 * Tags that say what their manifest is about, as cosign writes them where a registry has no referrers: `sha256-<hex>.sig`,
 * `.att` and `.sbom` (sigstore/cosign, specs/SIGNATURE_SPEC.md).
 */
import { type Digest, isDigest } from "./digest.ts";
import type { Tag } from "./reference.ts";

const COSIGN_TAG = /^(sha256|sha512)-([0-9a-f]{64,128})\.(?:sig|att|sbom)$/;

/** What the tag's manifest is about; undefined where the tag does not say. */
export function findTagSubject(tag: Tag): Digest | undefined {
  const [, algorithm = "", hex = ""] = COSIGN_TAG.exec(tag) ?? [];
  const subject = `${algorithm}:${hex}`;
  return isDigest(subject) ? subject : undefined;
}
