/**
 * A time limit joined to a caller's signal: one signal for the network, aborted by whichever comes first.
 */
import type { Clock } from "../../base/clock.ts";
import { Failure } from "../../base/failure.ts";

export class Deadline {
  /** Aborted with the caller's reason, or with a `Failure` that says what took too long. */
  readonly signal: AbortSignal;
  readonly #clock: Clock;
  readonly #own = new AbortController();
  #cancel: () => void = () => {};

  constructor(clock: Clock, outer?: AbortSignal) {
    this.#clock = clock;
    this.signal = outer === undefined ? this.#own.signal : AbortSignal.any([outer, this.#own.signal]);
  }

  /** Counts from now; replaces the limit that ran before. */
  set(timeoutMs: number, message: string): void {
    this.#cancel();
    this.#cancel = this.#clock.after(timeoutMs, () => {
      this.#own.abort(new Failure("unreachable", message, { timedOut: true }));
    });
  }

  /** No limit any more; the caller's signal still counts. */
  lift(): void {
    this.#cancel();
    this.#cancel = () => {};
  }
}
