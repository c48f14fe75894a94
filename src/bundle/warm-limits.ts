/**
 * How warming spends what upstreams allow: never the reserve, which is for who waits; and how long it waits for more.
 */
import { type Clock, pause } from "../base/clock.ts";
import { type Failure, isFailure } from "../base/failure.ts";
import type { Route } from "../mirror/route.ts";
import { type PullsLeft, reserveOf } from "../mirror/spending.ts";
import type { Reference } from "../oci/reference.ts";
import { failureOfBudget } from "../upstream/exchange/trouble.ts";
import { RELOOK_MS } from "../upstream/limits/budget.ts";

/** In how many milliseconds a pull may be made that nobody waits for; 0: now. Pure. */
export function pullWaitMs(left: PullsLeft | undefined, now: number): number {
  if (left === undefined) return 0;
  if (left.closedUntil > now) return left.closedUntil - now;
  const { limit, remaining } = left;
  if (limit === undefined || remaining === undefined || remaining > reserveOf(limit)) return 0;
  return Math.max(1000, Math.min(RELOOK_MS, left.windowMs ?? RELOOK_MS));
}

export const ATTEMPTS = 3;
const FIRST_RETRY_MS = 2000;
const UNTOLD_WAIT_MS = 30_000;

/** How long to wait after the attempt of this number (from 1) failed; half of it at random. Pure. */
export function retryWaitMs(attempt: number, random: number): number {
  return FIRST_RETRY_MS * 4 ** (attempt - 1) * (0.5 + random / 2);
}

/** Whether it may work the next time. */
export function isPassing(error: unknown): error is Failure {
  return isFailure(error, "unreachable", "overloaded", "corrupt");
}

export interface LimitWaitsParts {
  readonly clock: Clock;
  /** How long one upstream's limit is waited for, without anything being had in between. */
  readonly patienceMs: number;
  readonly signal: AbortSignal;
}

/** What one run waits for. */
export class LimitWaits {
  readonly #parts: LimitWaitsParts;
  /** Since when nothing could be had of an upstream. */
  readonly #since = new Map<string, number>();
  /** Until when, for who watches. */
  readonly #until = new Map<string, number>();

  constructor(parts: LimitWaitsParts) {
    this.#parts = parts;
  }

  /** For how long an upstream's limit is still waited for; undefined where it is not. */
  leftMs(upstream: string): number | undefined {
    const until = this.#until.get(upstream);
    return until === undefined ? undefined : Math.max(0, until - this.#parts.clock.now());
  }

  /**
   * Resolves when a pull may be made.
   * @param reference of a manifest that is asked for by HEAD, which tells what is left and costs nothing.
   * @throws Failure `limited` where patience would not last.
   */
  async forPull(route: Route, reference: Reference): Promise<void> {
    const { upstream } = route.source;
    for (;;) {
      const budget = upstream.budget(route.repository);
      const waitMs = pullWaitMs(budget, this.#parts.clock.now());
      if (waitMs === 0) break;
      const { limit, remaining } = budget ?? { limit: undefined, remaining: undefined };
      await this.#wait(route.upstream, waitMs, failureOfBudget(route.upstream, { limit, remaining }, waitMs));
      try {
        await upstream.headManifest(route.repository, reference, this.#parts.signal, "refresh");
      } catch (error) {
        // Nothing is known then, and whoever asks next is told.
        if (!isFailure(error)) throw error;
      }
    }
    this.#since.delete(route.upstream);
  }

  /** An upstream said "not now". @throws that Failure where patience would not last. */
  async afterRefusal(upstream: string, failure: Failure): Promise<void> {
    await this.#wait(upstream, Math.max(1000, failure.retryAfterMs ?? UNTOLD_WAIT_MS), failure);
  }

  /** Something could be had. */
  passed(upstream: string): void {
    this.#since.delete(upstream);
  }

  async #wait(upstream: string, waitMs: number, failure: Failure): Promise<void> {
    const { clock, patienceMs, signal } = this.#parts;
    const now = clock.now();
    const since = Math.min(now, this.#since.get(upstream) ?? now);
    if (now + waitMs - since > patienceMs) throw failure;
    this.#since.set(upstream, since);
    this.#until.set(upstream, Math.max(now + waitMs, this.#until.get(upstream) ?? 0));
    try {
      await pause(clock, waitMs, signal);
    } finally {
      if ((this.#until.get(upstream) ?? 0) <= clock.now() || signal.aborted) this.#until.delete(upstream);
    }
  }
}
