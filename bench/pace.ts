/**
 * When a byte that enters a long, narrow line comes out of it: a token bucket with a delay, and no clock of its own.
 *
 * What was not used is gone but for `BURST_MS`, which makes up for timers that come late: the average is the rate.
 */
export interface PaceOptions {
  readonly delayMs: number;
  readonly bytesPerMs: number;
  /** Nothing comes out before; for the time that a handshake takes. */
  readonly notBefore?: number;
}

const BURST_MS = 5;

export class Pace {
  readonly #options: PaceOptions;
  /** When the last byte so far has left the narrow part. */
  #freeAt = Number.NEGATIVE_INFINITY;

  constructor(options: PaceOptions) {
    this.#options = options;
  }

  /** @returns when the last of these bytes may leave. Times never decrease from call to call. */
  dueAt(sizeBytes: number, now: number): number {
    const { delayMs, bytesPerMs, notBefore = Number.NEGATIVE_INFINITY } = this.#options;
    this.#freeAt = Math.max(this.#freeAt, now - BURST_MS) + sizeBytes / bytesPerMs;
    return Math.max(this.#freeAt, now) + delayMs < notBefore ? notBefore : Math.max(this.#freeAt, now) + delayMs;
  }
}
