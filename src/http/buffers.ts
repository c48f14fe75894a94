/**
 * Memory for bodies on their way to clients: lent, given back, used again; less for each the more of it is out.
 *
 * A fast reader gives its buffer back at once and so finds plenty; thousands of slow ones share what there is.
 */

export const LARGEST_BYTES = 1024 * 1024;
/** Less than this is not worth a read. */
const SMALLEST_BYTES = 16 * 1024;
/** What is out at once, as long as nobody gets less than the smallest. */
const BUDGET_BYTES = 64 * 1024 * 1024;
/** One loan takes at most this part of what is left. */
const SHARE = 8;
/** What is kept for the next one rather than left to the garbage collector. */
const KEPT_BYTES = 16 * 1024 * 1024;

export class Buffers {
  /** By size. */
  readonly #free = new Map<number, Buffer[]>();
  #freeBytes = 0;
  #lentBytes = 0;

  get lentBytes(): number {
    return this.#lentBytes;
  }

  /**
   * Lends a buffer that nobody else writes to or reads from.
   * @param wantedBytes how much could be used; it may be less, and it may be a little more.
   */
  lend(wantedBytes: number): Buffer {
    const left = Math.max(BUDGET_BYTES - this.#lentBytes, 0);
    const fair = Math.min(Math.max(powerBelow(left / SHARE), SMALLEST_BYTES), LARGEST_BYTES);
    const size = Math.min(powerAbove(wantedBytes), fair);
    this.#lentBytes += size;
    const found = this.#free.get(size)?.pop();
    if (found === undefined) return Buffer.allocUnsafeSlow(size);
    this.#freeBytes -= size;
    return found;
  }

  /** It is not coming back: something may still read from it. */
  forfeit(buffer: Buffer): void {
    this.#lentBytes -= buffer.length;
  }

  /** Nothing may use it any more: no read, no socket. */
  giveBack(buffer: Buffer): void {
    const size = buffer.length;
    this.#lentBytes -= size;
    if (this.#freeBytes + size > KEPT_BYTES) return;
    this.#freeBytes += size;
    const list = this.#free.get(size);
    if (list === undefined) this.#free.set(size, [buffer]);
    else list.push(buffer);
  }
}

function powerBelow(value: number): number {
  return value < 1 ? 0 : 2 ** Math.floor(Math.log2(value));
}

function powerAbove(value: number): number {
  return 2 ** Math.ceil(Math.log2(Math.max(value, 1)));
}
