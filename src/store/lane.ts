/**
 * One body on its way into an ingest: gives it memory to arrive in, and hands over what has come.
 *
 * What has come is handed over at once where nothing of this lane is under way, and otherwise when that is done: the
 * first bytes, and those of a slow upstream, do not wait for a slab to be full, and those of a fast one go many at a
 * time. Memory that was handed over is not used again before it was hashed and written.
 */
import { Failure } from "../base/failure.ts";
import type { Lane } from "./blobstore.ts";
import type { Piece } from "./pen.ts";
import type { Slab } from "./slabs.ts";

/** What a lane asks of its ingest. */
export interface LaneOwner {
  /** Counts bytes that came. @throws what has ended the ingest. */
  took(count: number): void;
  /** Nobody sees anything of it before it is whole: it is handed over whole. */
  readonly isTiny: boolean;
  takeSmall(): Slab;
  findLarge(): Slab | undefined;
  giveBack(slab: Slab): void;
  write(piece: Piece): void;
  closed(): void;
}

/** Less than this at the end of a slab is left, rather than read into by the spoonful. */
const MIN_SPACE_BYTES = 16 * 1024;
/** Where the bytes go that nobody asked for. */
const BEYOND = new Uint8Array(1024);

interface Held {
  readonly slab: Slab;
  /** Up to here bytes have come. */
  filled: number;
  /** Up to here they were handed over. */
  handed: number;
  piecesOut: number;
}

export class SlabLane implements Lane {
  readonly #owner: LaneOwner;
  readonly #end: number;
  #position: number;
  /** The small slab that is ours for good. */
  #own: Held | undefined;
  #current: Held | undefined;
  #space: Uint8Array | undefined;
  #piecesOut = 0;
  #drain: (() => void) | undefined;
  #closed = false;

  constructor(owner: LaneOwner, start: number, end: number) {
    this.#owner = owner;
    this.#position = start;
    this.#end = end;
  }

  get position(): number {
    return this.#position;
  }

  get isFull(): boolean {
    return this.#position >= this.#end;
  }

  space(): Uint8Array {
    if (this.#space !== undefined) return this.#space;
    if (this.isFull) return BEYOND;
    this.#current ??= this.#next();
    // Woken by the end of the ingest, it asks as well.
    if (this.#current === undefined) this.#owner.took(0);
    if (this.#current === undefined) throw new Error("asked for memory while it should wait");
    const { slab, filled } = this.#current;
    this.#space = slab.bytes.subarray(filled, Math.min(slab.bytes.length, filled + this.#end - this.#position));
    return this.#space;
  }

  filled(count: number): boolean {
    this.#owner.took(count);
    if (count === 0) return true;
    const held = this.#current;
    if (this.isFull) throw new Failure("corrupt", `the upstream sent more than the ${this.#end} bytes it announced`);
    if (held === undefined) throw new Error("filled what was not given");
    this.#space = undefined;
    held.filled += count;
    this.#position += count;
    const isOver = this.isFull || held.slab.bytes.length - held.filled < MIN_SPACE_BYTES;
    if (isOver || (this.#piecesOut === 0 && !this.#owner.isTiny)) this.#handOver(held);
    if (!isOver) return true;
    this.#current = undefined;
    if (this.isFull) return true;
    this.#current = this.#next();
    return this.#current !== undefined;
  }

  onDrain(callback: () => void): void {
    this.#drain = callback;
  }

  /** Hands over what is left; for the end. */
  flush(): void {
    if (this.#current !== undefined) this.#handOver(this.#current);
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.flush();
    this.#owner.closed();
    const held = this.#current;
    this.#current = undefined;
    this.#space = undefined;
    this.#drain = undefined;
    if (held !== undefined && held.piecesOut === 0 && held !== this.#own) this.#giveBack(held);
    if (this.#own?.piecesOut === 0) this.#giveBack(this.#own);
  }

  /** What was handed over of a slab was written, or never will be. */
  #done(held: Held): void {
    this.#piecesOut -= 1;
    held.piecesOut -= 1;
    const isFree = held.piecesOut === 0 && held !== this.#current;
    if (isFree && (held !== this.#own || this.#closed)) this.#giveBack(held);
    if (this.#closed) return;
    if (this.#piecesOut === 0 && this.#current !== undefined && !this.#owner.isTiny) this.#handOver(this.#current);
    this.wake();
  }

  /** Goes on where there is memory now; what has failed is told by the next bytes. */
  wake(failed = false): void {
    const drain = this.#drain;
    if (drain === undefined) return;
    if (!failed) {
      this.#current ??= this.#next();
      if (this.#current === undefined) return;
    }
    this.#drain = undefined;
    drain();
  }

  #handOver(held: Held): void {
    if (held.filled === held.handed) return;
    const { slab, handed, filled } = held;
    const at = this.#position - (filled - handed);
    held.handed = filled;
    held.piecesOut += 1;
    this.#piecesOut += 1;
    const bytes = slab.bytes.subarray(handed, filled);
    this.#owner.write({ bytes, at, from: { slab, done: () => this.#done(held) } });
  }

  #next(): Held | undefined {
    if (this.#own === undefined) {
      this.#own = { slab: this.#owner.takeSmall(), filled: 0, handed: 0, piecesOut: 0 };
      return this.#own;
    }
    const large = this.#owner.findLarge();
    if (large !== undefined) return { slab: large, filled: 0, handed: 0, piecesOut: 0 };
    if (this.#own.piecesOut > 0) return undefined;
    this.#own.filled = 0;
    this.#own.handed = 0;
    return this.#own;
  }

  #giveBack(held: Held): void {
    if (held === this.#own) this.#own = undefined;
    this.#owner.giveBack(held.slab);
  }
}
