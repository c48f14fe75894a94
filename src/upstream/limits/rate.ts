/**
 * Our own limit on requests per second: a token bucket, and a line of those who wait for a token.
 *
 * The invariant: in no time span are more requests sent than the rate allows for it, one burst (of a second's worth or one
 * request, whichever is more), and what follows from requests that had their turn (a redirect, an answer to a challenge),
 * which is sent at once: those who wait pay for it, up to `MAX_DEBT` bursts. A timer runs only while somebody waits.
 */
import { Failure } from "../../base/failure.ts";
import type { Standing } from "./fairqueue.ts";
import { Line, type LineOptions } from "./line.ts";

export type RateOptions = Pick<LineOptions, "upstream" | "clock" | "patienceMs">;

/** No more may wait than have their turn in this time: who would wait longer is better told at once. */
const LONGEST_LINE_MS = 15_000;
/** In bursts: more than a second's worth of questions, each of which has led to a challenge, a token and redirects. */
const MAX_DEBT = 12;
/** What is missing to a whole token for want of precision. */
const ROUNDING = 1e-6;

export class Rate {
  readonly #perSecond: number;
  readonly #burst: number;
  readonly #options: RateOptions;
  readonly #line: Line;
  #tokens: number;
  #countedAt: number;
  #cancel: (() => void) | undefined;

  /** @param perSecond may be a fraction: 0.5 is one in two seconds. */
  constructor(perSecond: number, options: RateOptions) {
    this.#perSecond = perSecond;
    this.#options = options;
    this.#burst = Math.max(1, perSecond);
    this.#tokens = this.#burst;
    this.#countedAt = options.clock.now();
    this.#line = new Line({
      ...options,
      setting: "requestsPerSecond",
      places: Math.max(1, Math.floor((perSecond * LONGEST_LINE_MS) / 1000)),
      retryAfterMs: () => Math.ceil(((this.#line.size + 1 - Math.min(0, this.#tokens)) * 1000) / perSecond),
    });
  }

  /** How many wait. */
  get waiting(): number {
    return this.#line.size;
  }

  /** Resolves when one request may be sent. Rejects with the signal's reason, or a Failure `overloaded`. */
  async take(signal: AbortSignal, standing: Standing = {}): Promise<void> {
    signal.throwIfAborted();
    this.#count();
    if (this.#line.size === 0 && this.#spend()) return;
    const turn = this.#line.wait(signal, standing);
    this.#schedule();
    try {
      await turn;
    } finally {
      if (this.#line.size === 0) this.#rest();
    }
  }

  /** For a request that follows from one that had its turn, and waits for none: those to come wait for it. */
  charge(): void {
    this.#count();
    this.#tokens = Math.max(-MAX_DEBT * this.#burst, this.#tokens - 1);
  }

  /** Ends all waits, and those to come. */
  close(): void {
    this.#line.close(new Failure("overloaded", `${this.#options.upstream} is closed`));
    this.#rest();
  }

  #count(): void {
    const now = this.#options.clock.now();
    // A clock that was set back brings nothing, and takes nothing.
    const elapsedMs = Math.max(0, now - this.#countedAt);
    this.#countedAt = now;
    this.#tokens = Math.min(this.#burst, this.#tokens + (elapsedMs * this.#perSecond) / 1000);
  }

  #spend(): boolean {
    if (this.#tokens < 1 - ROUNDING) return false;
    this.#tokens -= 1;
    return true;
  }

  #schedule(): void {
    if (this.#cancel !== undefined || this.#line.size === 0) return;
    const delayMs = Math.max(1, Math.ceil(((1 - this.#tokens) * 1000) / this.#perSecond));
    this.#cancel = this.#options.clock.after(delayMs, () => {
      this.#cancel = undefined;
      this.#count();
      while (this.#line.size > 0 && this.#spend()) this.#line.admit();
      this.#schedule();
    });
  }

  #rest(): void {
    this.#cancel?.();
    this.#cancel = undefined;
  }
}
