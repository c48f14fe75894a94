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
const QUIET_MS = 60_000;

/** How long to wait after the attempt of this number (from 1) failed; half of it at random. Pure. */
export function retryWaitMs(attempt: number, random: number): number {
  return FIRST_RETRY_MS * 4 ** (attempt - 1) * (0.5 + random / 2);
}

/** Whether it may work the next time. */
export function isPassing(error: unknown): error is Failure {
  return isFailure(error, "unreachable", "overloaded", "corrupt") && !isRefusedQuestion(error);
}

/** The upstream does not understand, or will not have it, whoever asks and however often. */
export function isRefusedQuestion(error: unknown): boolean {
  if (!isFailure(error, "unreachable")) return false;
  const { upstreamStatus = 0 } = error;
  return upstreamStatus >= 400 && upstreamStatus < 500 && upstreamStatus !== 408;
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
  /** Since when nothing could be had of an upstream, and until when that is waited for. */
  readonly #waits = new Map<string, { readonly since: number; readonly until: number }>();

  constructor(parts: LimitWaitsParts) {
    this.#parts = parts;
  }

  /** For how long an upstream's limit is still waited for; undefined where it is not. */
  leftMs(upstream: string): number | undefined {
    const leftMs = (this.#waits.get(upstream)?.until ?? 0) - this.#parts.clock.now();
    return leftMs > 0 ? leftMs : undefined;
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
    this.#waits.delete(route.upstream);
  }

  /** An upstream said "not now". @throws that Failure where patience would not last. */
  async afterRefusal(upstream: string, failure: Failure): Promise<void> {
    await this.#wait(upstream, Math.max(1000, failure.retryAfterMs ?? UNTOLD_WAIT_MS), failure);
  }

  async #wait(upstream: string, waitMs: number, failure: Failure): Promise<void> {
    const { clock, patienceMs, signal } = this.#parts;
    const now = clock.now();
    const before = this.#waits.get(upstream);
    // What has not limited us for a while is waited for anew.
    const goesOn = before !== undefined && before.since <= now && now - before.until < QUIET_MS;
    const since = goesOn ? before.since : now;
    if (now + waitMs - since > patienceMs) throw failure;
    this.#waits.set(upstream, { since, until: Math.max(now + waitMs, goesOn ? before.until : 0) });
    await pause(clock, waitMs, signal);
  }
}
