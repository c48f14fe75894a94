/**
 * Bytes to serve: deterministic, pseudo-random, readable from any offset, with no need to hold them.
 *
 * A `VirtualContent` of one gigabyte costs one megabyte of memory and one pass over it for its digest. Every 4 KiB
 * carries its own position, so bytes that arrive in the wrong place change the digest and can be told apart.
 */
import { createHash } from "node:crypto";
import { type Digest, digestOf, finishDigest } from "../../src/oci/digest.ts";

export interface Content {
  readonly digest: Digest;
  readonly sizeBytes: number;
  /** The bytes from `start` up to, not including, `end`, in chunks of at most 1 MiB. A chunk is the caller's to change. */
  read(start: number, end: number): Iterable<Buffer>;
}

const BLOCK = 1024 * 1024;
const STAMP_EVERY = 4096;

/** Content held in memory. */
export class BufferContent implements Content {
  readonly bytes: Buffer;
  readonly digest: Digest;

  constructor(bytes: Buffer, digest: Digest = digestOf(bytes)) {
    this.bytes = bytes;
    this.digest = digest;
  }

  get sizeBytes(): number {
    return this.bytes.length;
  }

  *read(start: number, end: number): Iterable<Buffer> {
    for (let at = start; at < end; at += BLOCK) yield Buffer.from(this.bytes.subarray(at, Math.min(end, at + BLOCK)));
  }
}

/** Content produced on the fly from a seed. */
export class VirtualContent implements Content {
  readonly sizeBytes: number;
  readonly #seed: number;
  readonly #block: Buffer;
  #digest: Digest | undefined;

  constructor(sizeBytes: number, seed = 1) {
    this.sizeBytes = sizeBytes;
    this.#seed = seed;
    this.#block = randomBlock(seed);
  }

  /** Computed at the first use, by one pass over all bytes. */
  get digest(): Digest {
    if (this.#digest === undefined) {
      const hash = createHash("sha256");
      for (const chunk of this.read(0, this.sizeBytes)) hash.update(chunk);
      this.#digest = finishDigest("sha256", hash);
    }
    return this.#digest;
  }

  *read(start: number, end: number): Iterable<Buffer> {
    for (let at = start; at < end; ) {
      const index = Math.floor(at / BLOCK);
      const from = at - index * BLOCK;
      const until = Math.min(BLOCK, end - index * BLOCK);
      const chunk = Buffer.from(this.#block);
      for (let stamp = 0; stamp < BLOCK; stamp += STAMP_EVERY) {
        chunk.writeUInt32LE((this.#seed ^ Math.imul(index + 1, 0x9e3779b1)) >>> 0, stamp);
        chunk.writeUInt32LE(index * (BLOCK / STAMP_EVERY) + stamp / STAMP_EVERY, stamp + 4);
      }
      yield chunk.subarray(from, until);
      at += until - from;
    }
  }
}

/** `sizeBytes` pseudo-random bytes, always the same for one seed. */
export function seededBytes(sizeBytes: number, seed = 1): Buffer {
  return Buffer.concat([...new VirtualContent(sizeBytes, seed).read(0, sizeBytes)]);
}

const blocks = new Map<number, Buffer>();

function randomBlock(seed: number): Buffer {
  const known = blocks.get(seed);
  if (known !== undefined) return known;
  const words = new Uint32Array(BLOCK / 4);
  // xorshift32; zero is its only fixed point.
  let state = Math.imul(seed, 0x9e3779b1) >>> 0 || 1;
  for (let i = 0; i < words.length; i += 1) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    words[i] = state;
  }
  const block = Buffer.from(words.buffer);
  if (blocks.size >= 16) blocks.clear();
  blocks.set(seed, block);
  return block;
}
