/**
 * Those who wait for one of our own limits on an upstream, each by its own signal and for so long at most.
 *
 * The invariants: no more wait than there are places, a refresh giving up its place to a miss; whoever is turned away
 * is told which setting it was, and when to come again; where nobody waits there is no timer.
 */
import type { Clock } from "../../base/clock.ts";
import { Failure } from "../../base/failure.ts";
import type { Urgency } from "../urgency.ts";
import { FairQueue, type Standing } from "./fairqueue.ts";

/** Whose limit it is, and how long its line may be. */
export interface LineOptions {
  readonly upstream: string;
  /** The key of the configuration: `connections`, which stands under the upstream's `limits`. */
  readonly setting: string;
  readonly clock: Clock;
  /** How many may wait. */
  readonly places?: number;
  /** How long each may wait; infinity is without end. */
  readonly patienceMs?: Partial<Readonly<Record<Urgency, number>>>;
  /** In how long somebody who is turned away may find a place. */
  readonly retryAfterMs?: () => number;
}

interface Waiter {
  readonly standing: Standing;
  admit(): void;
  refuse(reason: unknown): void;
}

const PLACES = 1000;
/** A refresh can come again; somebody who waits for a miss leaves by their own signal, sooner or later. */
const PATIENCE_MS: Readonly<Record<Urgency, number>> = { miss: 120_000, refresh: 10_000 };
const RETRY_AFTER_MS = 2000;

export class Line {
  readonly #options: LineOptions;
  readonly #queue = new FairQueue<Waiter>();
  #shut: { readonly reason: unknown } | undefined;

  constructor(options: LineOptions) {
    this.#options = options;
  }

  get size(): number {
    return this.#queue.size;
  }

  /** Resolves at `admit`. Rejects with the signal's reason, the one of `close`, or a Failure `overloaded`. */
  wait(signal: AbortSignal, standing: Standing): Promise<void> {
    if (signal.aborted) return Promise.reject(signal.reason);
    if (this.#shut !== undefined) return Promise.reject(this.#shut.reason);
    const { clock, places = PLACES, patienceMs } = this.#options;
    const { urgency = "miss" } = standing;
    if (this.#queue.size >= places) {
      const weaker = urgency === "miss" ? this.#queue.lastRefresh : undefined;
      if (weaker === undefined) return Promise.reject(this.#turnedAway("too many requests wait"));
      weaker.refuse(this.#turnedAway("other requests are more urgent"));
    }
    return new Promise((resolve, reject) => {
      const leave = () => {
        this.#queue.remove(waiter, standing);
        signal.removeEventListener("abort", onAbort);
        cancel();
      };
      const waiter: Waiter = {
        standing,
        admit: () => {
          leave();
          resolve();
        },
        refuse: (reason) => {
          leave();
          reject(reason);
        },
      };
      const onAbort = () => waiter.refuse(signal.reason);
      const limitMs = patienceMs?.[urgency] ?? PATIENCE_MS[urgency];
      const late = () => waiter.refuse(this.#turnedAway("the wait was too long"));
      const cancel = Number.isFinite(limitMs) ? clock.after(limitMs, late) : () => {};
      signal.addEventListener("abort", onAbort, { once: true });
      this.#queue.add(waiter, standing);
    });
  }

  /** Lets go whose turn it is. False where nobody waits. */
  admit(): boolean {
    const waiter = this.#queue.next();
    waiter?.admit();
    return waiter !== undefined;
  }

  /** Ends all waits, and those to come. */
  close(reason: unknown): void {
    this.#shut ??= { reason };
    for (let waiter = this.#queue.next(); waiter !== undefined; waiter = this.#queue.next()) waiter.refuse(reason);
  }

  #turnedAway(why: string): Failure {
    const { upstream, setting, retryAfterMs } = this.#options;
    return new Failure("overloaded", `${why} for ${upstream}; the limit is upstreams.${upstream}.limits.${setting}`, {
      retryAfterMs: retryAfterMs?.() ?? RETRY_AFTER_MS,
    });
  }
}
