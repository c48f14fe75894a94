/**
 * What has come of a body lately, held in memory for those who read it at different speeds.
 *
 * Everything is hashed as it comes, and each chunk keeps the state of the hash before it: so whoever is somewhere in the
 * window can be given a body of his own that goes on from there, and is verified whole all the same.
 */
import type { Hash } from "node:crypto";

const CHUNK_BYTES = 256 * 1024;

interface Chunk {
  /** Offset in the blob of its first byte. */
  readonly at: number;
  readonly bytes: Buffer;
  readonly before: Hash | undefined;
  length: number;
}

export class Window {
  readonly #chunks: Chunk[] = [];
  readonly #hash: Hash | undefined;
  #head: number;

  /** @param hash of everything before `start`; it is taken over. Undefined where nothing is to be verified. */
  constructor(start: number, hash: Hash | undefined) {
    this.#head = start;
    this.#hash = hash;
  }

  /** The first byte that has not come. */
  get head(): number {
    return this.#head;
  }

  /** The first byte that is still here. */
  get from(): number {
    return this.#chunks[0]?.at ?? this.#head;
  }

  /** Memory for the next bytes; never empty. */
  space(): Uint8Array {
    const last = this.#chunks.at(-1);
    const chunk = last === undefined || last.length === last.bytes.length ? this.#add() : last;
    return chunk.bytes.subarray(chunk.length);
  }

  /** So many bytes were put at the beginning of the last `space()`. */
  filled(count: number): void {
    const chunk = this.#chunks.at(-1);
    if (chunk === undefined) throw new Error("filled before there was space");
    this.#hash?.update(chunk.bytes.subarray(chunk.length, chunk.length + count));
    chunk.length += count;
    this.#head += count;
  }

  /** Some bytes from `position` on, none of them at or behind `limit`; undefined where none are here. */
  read(position: number, limit: number): Buffer | undefined {
    const chunk = this.#find(position);
    if (chunk === undefined || position >= limit) return undefined;
    const until = Math.min(chunk.at + chunk.length, limit);
    return chunk.bytes.subarray(position - chunk.at, until - chunk.at);
  }

  /** The hash of everything before `position`; undefined where that is not known any more. */
  stateAt(position: number): Hash | undefined {
    if (position === this.#head) return this.#hash?.copy();
    const chunk = this.#find(position);
    return chunk?.before?.copy().update(chunk.bytes.subarray(0, position - chunk.at));
  }

  /** Nobody needs what is before `position` any more. */
  trim(position: number): void {
    for (let first = this.#chunks[0]; first !== undefined; first = this.#chunks[0]) {
      // The last one may still be written to.
      if (this.#chunks.length === 1 || first.at + first.length > position) return;
      this.#chunks.shift();
    }
  }

  /** The hash of everything; nothing may come after. */
  get hash(): Hash | undefined {
    return this.#hash;
  }

  #find(position: number): Chunk | undefined {
    return this.#chunks.find(({ at, length }) => position >= at && position < at + length);
  }

  #add(): Chunk {
    const chunk = { at: this.#head, bytes: Buffer.allocUnsafeSlow(CHUNK_BYTES), before: this.#hash?.copy(), length: 0 };
    this.#chunks.push(chunk);
    return chunk;
  }
}
