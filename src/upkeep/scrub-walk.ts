/**
 * Everything that is stored or said to be, in the order of digests: files and rows merged, a directory at a time.
 *
 * Rows are read before the names of files: what is stored meanwhile has its file before its row, and what leaves loses
 * its row before its file. Either may have changed by the time a digest is looked at, so it is looked at anew then.
 */
import { readdir } from "node:fs/promises";
import { dirname } from "node:path";
import { errnoOf, messageOf } from "../base/failure.ts";
import type { Verified } from "../meta/verified.ts";
import { type Digest, type DigestAlgorithm, hexOf, isDigest } from "../oci/digest.ts";
import type { DiskStore } from "../store/disk.ts";

const HEX_LENGTHS: ReadonlyMap<DigestAlgorithm, number> = new Map([
  ["sha256", 64],
  ["sha512", 128],
]);
const SHARDS = 256;
const ROWS_AT_ONCE = 1000;
/** After every hex digit. */
const BEYOND = "g";

export interface WalkParts {
  readonly store: Pick<DiskStore, "pathOf">;
  readonly verified: Pick<Verified, "digestsBetween">;
  /** Something that has no blob's name lies among the blobs. */
  onStray(name: string): void;
  /** A directory would not be read: its rows are believed. */
  onUnreadable(message: string): void;
}

/** @param after where to go on, "" for the beginning. */
export async function* walkBlobs(parts: WalkParts, after: string): AsyncGenerator<Digest> {
  for (const [algorithm, length] of HEX_LENGTHS) {
    for (let shard = 0; shard < SHARDS; shard += 1) {
      const prefix = `${algorithm}:${shard.toString(16).padStart(2, "0")}`;
      if (`${prefix}${BEYOND}` <= after) continue;
      for (const digest of await digestsIn(parts, prefix, length)) if (digest > after) yield digest;
    }
  }
}

async function digestsIn(parts: WalkParts, prefix: string, hexLength: number): Promise<Digest[]> {
  const digests = new Set<Digest>();
  for (let from = prefix; ; ) {
    const page = parts.verified.digestsBetween(from, `${prefix}${BEYOND}`, ROWS_AT_ONCE);
    for (const digest of page) digests.add(digest);
    const last = page.at(-1);
    if (last === undefined || page.length < ROWS_AT_ONCE) break;
    from = last;
    await new Promise((resolve) => setImmediate(resolve));
  }
  const [algorithm = "", start = ""] = prefix.split(":");
  const some = `${algorithm}:${start.padEnd(hexLength, "0")}`;
  if (!isDigest(some)) return [];
  try {
    for (const name of await readdir(dirname(parts.store.pathOf(some)))) {
      const digest = `${algorithm}:${name}`;
      if (isDigest(digest) && hexOf(digest).startsWith(start)) digests.add(digest);
      else parts.onStray(name);
    }
  } catch (cause) {
    if (errnoOf(cause) !== "ENOENT" && errnoOf(cause) !== "ENOTDIR") {
      parts.onUnreadable(messageOf(cause));
      return [];
    }
  }
  return [...digests].sort();
}
