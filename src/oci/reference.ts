/**
 * Repository names, tags and references, as the OCI distribution specification defines them (spec.md, "Pulling manifests").
 */
import { Failure } from "../base/failure.ts";
import { type Digest, isDigest, parseDigest } from "./digest.ts";

declare const repositoryBrand: unique symbol;
/** A valid repository name inside one registry: `library/alpine`. */
export type Repository = string & { readonly [repositoryBrand]: true };

declare const tagBrand: unique symbol;
export type Tag = string & { readonly [tagBrand]: true };

/** What names a manifest inside a repository. */
export type Reference =
  | { readonly type: "tag"; readonly tag: Tag }
  | { readonly type: "digest"; readonly digest: Digest };

const NAME = /^[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:\/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*$/;
const TAG = /^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$/;
/** Clients limit host and name together to 255 characters; a name alone is never longer. */
const MAX_NAME = 255;

/** @throws Failure `invalid` with code NAME_INVALID. */
export function parseRepository(text: string): Repository {
  // The length is looked at first: it bounds what the expression may cost.
  if (text.length <= MAX_NAME && NAME.test(text)) return text as Repository;
  throw new Failure("invalid", "not a repository name: lower-case path components, at most 255 characters", {
    code: "NAME_INVALID",
    detail: { name: text.slice(0, 300) },
  });
}

/** @throws Failure `invalid` with code MANIFEST_INVALID: the specification has no code for a bad tag. */
export function parseTag(text: string): Tag {
  if (TAG.test(text)) return text as Tag;
  throw new Failure("invalid", "not a tag: letters, digits, '_', '.', '-', at most 128, not starting with '.' or '-'", {
    code: "MANIFEST_INVALID",
    detail: { tag: text.slice(0, 200) },
  });
}

/**
 * A tag cannot hold a colon, so anything with one is read as a digest.
 * @throws Failure `invalid` with code DIGEST_INVALID or MANIFEST_INVALID.
 */
export function parseReference(text: string): Reference {
  if (isDigest(text)) return { type: "digest", digest: text };
  if (text.includes(":")) return { type: "digest", digest: parseDigest(text) };
  return { type: "tag", tag: parseTag(text) };
}

/** The reference as it stands in a URL. */
export function referenceText(reference: Reference): string {
  return reference.type === "tag" ? reference.tag : reference.digest;
}
