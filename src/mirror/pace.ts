/**
 * What fills have learned of one upstream: how soon it answers, and what one connection brings. From this the next large
 * blob is asked for whole, or begun with a piece.
 */

const NEAR_MS = 15;
const MAX_ANSWERS = 8;
/** Less tells of slow starts more than of the way. */
const TELLING_BYTES = 16 * 1024 * 1024;
const SLOW_BYTES_PER_SECOND = 50_000_000;

export class Pace {
  readonly #answersMs: number[] = [];
  #slow = false;

  get isKnown(): boolean {
    return this.#answersMs.length > 0;
  }

  /**
   * Whether one connection may be what limits. It rarely is where an answer takes no time, since it is the length of the
   * way that slows a connection; then one request is enough, until one of them turns out slow.
   */
  get mayBeSlow(): boolean {
    return this.#slow || Math.min(...this.#answersMs) >= NEAR_MS;
  }

  answered(afterMs: number): void {
    this.#answersMs.push(afterMs);
    if (this.#answersMs.length > MAX_ANSWERS) this.#answersMs.shift();
  }

  /** One connection brought this, alone. */
  brought(bytes: number, durationMs: number): void {
    if (bytes < TELLING_BYTES) return;
    this.#slow = (bytes * 1000) / Math.max(1, durationMs) < SLOW_BYTES_PER_SECOND;
  }
}
