/**
 * A layer in pieces that are fetched beside each other, as containerd 2 does it: pure, but for the hash that puts the
 * pieces in order again.
 */
import { createHash, type Hash } from "node:crypto";
import { algorithmOf, type Digest, finishDigest } from "../oci/digest.ts";

export interface Chunk {
  readonly index: number;
  readonly start: number;
  /** Not included. */
  readonly end: number;
}

export function planChunks(sizeBytes: number, chunkBytes: number): Chunk[] {
  const chunks: Chunk[] = [];
  for (let start = 0; start < sizeBytes; start += chunkBytes) {
    chunks.push({ index: chunks.length, start, end: Math.min(sizeBytes, start + chunkBytes) });
  }
  return chunks;
}

/** containerd leaves the end open and closes the connection when it has the piece; the others say where it ends. */
export function rangeHeader(chunk: Chunk, openEnded: boolean): string {
  return openEnded ? `bytes=${chunk.start}-` : `bytes=${chunk.start}-${chunk.end - 1}`;
}

/** What a piece holds in memory while others are before it. */
const MAX_HELD_BYTES = 4 * 1024 * 1024;

interface Held {
  readonly buffers: Buffer[];
  bytes: number;
  complete: boolean;
  readonly resume: (() => void)[];
}

/**
 * Hashes pieces in their order, whenever they come. A piece whose turn has not come is held, and past some megabytes
 * its reader is asked to wait: memory depends on the number of readers and not on the layer's size.
 */
export class OrderedHash {
  readonly #digest: Digest;
  readonly #hash: Hash;
  readonly #held = new Map<number, Held>();
  #turn = 0;

  constructor(digest: Digest) {
    this.#digest = digest;
    this.#hash = createHash(algorithmOf(digest));
  }

  /** @returns what to wait for before the next bytes of this piece are read, if anything */
  write(index: number, bytes: Buffer): Promise<void> | undefined {
    if (index === this.#turn) {
      this.#hash.update(bytes);
      return undefined;
    }
    const held = this.#of(index);
    held.buffers.push(bytes);
    held.bytes += bytes.length;
    if (held.bytes < MAX_HELD_BYTES) return undefined;
    return new Promise((resolve) => held.resume.push(resolve));
  }

  /** The piece has no more bytes; the next one's turn comes when all before it are finished. */
  finish(index: number): void {
    this.#of(index).complete = true;
    while (this.#held.get(this.#turn)?.complete === true) {
      this.#held.delete(this.#turn);
      this.#turn += 1;
      const next = this.#held.get(this.#turn);
      for (const bytes of next?.buffers.splice(0) ?? []) this.#hash.update(bytes);
      for (const resume of next?.resume.splice(0) ?? []) resume();
    }
  }

  /** After the last piece has finished. */
  matches(): boolean {
    return finishDigest(algorithmOf(this.#digest), this.#hash) === this.#digest;
  }

  #of(index: number): Held {
    const held = this.#held.get(index) ?? { buffers: [], bytes: 0, complete: false, resume: [] };
    this.#held.set(index, held);
    return held;
  }
}
