/**
 * Memory that bytes on their way to a file lie in, shared with the thread that hashes and writes them.
 *
 * The large ones are bounded over all ingests together. A small one is always to be had, so that whoever got no large one
 * goes on, slower; of those there are as many as bodies that are received at a time.
 */

export const LARGE_BYTES = 1024 * 1024;
export const SMALL_BYTES = 64 * 1024;
const MAX_BYTES = 64 * 1024 * 1024;
/** What is kept for the next one, of each size; the rest goes back to the system. */
const MAX_KEPT = 4;

export interface Slab {
  readonly id: number;
  readonly memory: SharedArrayBuffer;
  readonly bytes: Uint8Array;
}

export class Slabs {
  /** Told when a slab is given up for good. */
  onDropped: (id: number) => void = () => {};
  readonly #maxBytes: number;
  readonly #kept = new Map<number, Slab[]>([
    [SMALL_BYTES, []],
    [LARGE_BYTES, []],
  ]);
  #serial = 0;
  #outBytes = 0;

  constructor(maxBytes = MAX_BYTES) {
    this.#maxBytes = maxBytes;
  }

  /** Bytes of the slabs that have been taken and not given back. */
  get outBytes(): number {
    return this.#outBytes;
  }

  takeSmall(): Slab {
    return this.#take(SMALL_BYTES);
  }

  /** Undefined where all that there may be are in use. */
  findLarge(): Slab | undefined {
    return this.#outBytes + LARGE_BYTES > this.#maxBytes ? undefined : this.#take(LARGE_BYTES);
  }

  giveBack(slab: Slab): void {
    this.#outBytes -= slab.bytes.length;
    const kept = this.#kept.get(slab.bytes.length);
    if (kept !== undefined && kept.length < MAX_KEPT) kept.push(slab);
    else this.onDropped(slab.id);
  }

  #take(sizeBytes: number): Slab {
    this.#outBytes += sizeBytes;
    // The one that came back last is still in the processor's cache.
    const kept = this.#kept.get(sizeBytes)?.pop();
    if (kept !== undefined) return kept;
    const memory = new SharedArrayBuffer(sizeBytes);
    this.#serial += 1;
    return { id: this.#serial, memory, bytes: new Uint8Array(memory) };
  }
}
