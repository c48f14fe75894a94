/**
 * Writes a planned bundle as a tar stream: contents first, `index.json` next, then the pieces. Its length is known before
 * its first byte, and the same plan is the same bytes.
 *
 * Every byte is verified as it leaves: of a blob that no longer matches its digest the last bytes never leave, so the
 * stream is short and nobody can take it for whole.
 */
import { createHash } from "node:crypto";
import { read as readFd } from "node:fs";
import { Readable } from "node:stream";
import { Failure } from "../base/failure.ts";
import { algorithmOf, finishDigest } from "../oci/digest.ts";
import type { BlobStore } from "../store/blobstore.ts";
import { CONTENTS_FILE, type Piece } from "./contents.ts";
import { blobPath, INDEX_FILE, LAYOUT, LAYOUT_FILE } from "./layout.ts";
import type { BundlePlan } from "./plan.ts";
import { END, headerOf, lengthOf, paddingOf } from "./tarball.ts";

export interface BundleStream {
  readonly lengthBytes: number;
  /** Whoever gets it reads or destroys it. */
  readonly body: Readable;
}

/** What is hashed and handed on at a time: a fraction of a millisecond's work. */
const CHUNK_BYTES = 256 * 1024;

export function streamBundle(store: Pick<BlobStore, "open">, plan: BundlePlan, signal: AbortSignal): BundleStream {
  const documents: readonly (readonly [string, Buffer])[] = [
    [CONTENTS_FILE, plan.contentsBytes],
    [LAYOUT_FILE, LAYOUT],
    [INDEX_FILE, plan.indexBytes],
  ];
  const lengthBytes =
    documents.reduce((sum, [name, bytes]) => sum + lengthOf(name, bytes.length), 0) +
    plan.carried.reduce((sum, { digest, sizeBytes }) => sum + lengthOf(blobPath(digest), sizeBytes), 0) +
    END.length;
  async function* bytes(): AsyncGenerator<Buffer> {
    for (const [name, document] of documents) {
      yield headerOf(name, document.length);
      yield document;
      yield paddingOf(document.length);
    }
    for (const piece of plan.carried) {
      yield headerOf(blobPath(piece.digest), piece.sizeBytes);
      yield* verifiedBytes(store, piece, signal);
      yield paddingOf(piece.sizeBytes);
    }
    yield END;
  }
  const body = Readable.from(withoutEmpty(bytes()), { objectMode: false, highWaterMark: 2 * CHUNK_BYTES });
  return { lengthBytes, body };
}

/** @throws Failure `corrupt` before the last chunk, where the file is not what its name says. */
async function* verifiedBytes(
  store: Pick<BlobStore, "open">,
  { digest, sizeBytes }: Piece,
  signal: AbortSignal,
): AsyncGenerator<Buffer> {
  const follower = await store.open(digest, sizeBytes);
  if (follower === undefined) throw new Failure("unknown", `${digest} has left the store while it was exported`);
  try {
    if (follower.sizeBytes !== sizeBytes) throw rotten(digest);
    const hash = createHash(algorithmOf(digest));
    let held: Buffer | undefined;
    for (let at = 0; at < sizeBytes; ) {
      signal.throwIfAborted();
      const chunk = Buffer.allocUnsafe(Math.min(CHUNK_BYTES, sizeBytes - at));
      const count = await readAt(follower.fd, chunk, at);
      if (count === 0) throw rotten(digest);
      const read = chunk.subarray(0, count);
      hash.update(read);
      if (held !== undefined) yield held;
      held = read;
      at += count;
    }
    if (finishDigest(algorithmOf(digest), hash) !== digest) throw rotten(digest);
    if (held !== undefined) yield held;
  } finally {
    follower.close();
  }
}

function readAt(fd: number, into: Buffer, at: number): Promise<number> {
  return new Promise((resolve, reject) => {
    readFd(fd, into, 0, into.length, at, (cause, count) => {
      if (cause === null) resolve(count);
      else reject(new Failure("storage", "cannot read a stored blob", { cause }));
    });
  });
}

function rotten(digest: string): Failure {
  const advice = "wharfinger scrub finds out what else is damaged";
  return new Failure("corrupt", `stored blob ${digest} no longer matches its digest; nothing was exported. ${advice}`);
}

/** An empty chunk would end a stream of bytes for some of its readers. */
async function* withoutEmpty(chunks: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  for await (const chunk of chunks) if (chunk.length > 0) yield chunk;
}
