/**
 * Pulls that are as good as spent: of changes that are being taken over, and of those that clients were just told of and
 * will come for. Counted for each upstream, so that many at once do not pledge more than there is.
 */
import type { Clock } from "../base/clock.ts";

/** Whoever was told of a new image comes for it within this, or asks again. */
const KEPT_MS = 60_000;
const MAX_KEPT = 1000;

interface Kept {
  pulls: number;
  readonly until: number;
}

export class Pledges {
  readonly #clock: Clock;
  readonly #kept = new Map<string, Map<string, Kept>>();
  readonly #running = new Map<string, { pulls: number; readonly holds: Set<Promise<void>> }>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** All that is pledged of this upstream's pulls. */
  of(upstream: string): number {
    let sum = this.#running.get(upstream)?.pulls ?? 0;
    const kept = this.#kept.get(upstream);
    if (kept === undefined) return sum;
    const now = this.#clock.now();
    for (const [key, { pulls, until }] of kept) {
      if (until > now && until <= now + KEPT_MS) sum += pulls;
      else kept.delete(key);
    }
    return sum;
  }

  /** A client was told of something that costs so many pulls. @param key names it; told twice it is pledged once. */
  make(upstream: string, key: string, pulls: number): void {
    const kept = this.#kept.get(upstream) ?? new Map<string, Kept>();
    this.#kept.set(upstream, kept);
    if (kept.size < MAX_KEPT || kept.has(key)) kept.set(key, { pulls, until: this.#clock.now() + KEPT_MS });
  }

  /** One of the pulls was made. */
  redeem(upstream: string, key: string): void {
    const kept = this.#kept.get(upstream)?.get(key);
    if (kept !== undefined) kept.pulls = Math.max(0, kept.pulls - 1);
  }

  /** Holds so many for work that runs; `spend` with each that was made, `end` when it is over. */
  hold(upstream: string, pulls: number): { spend(): void; end(): void } {
    const running = this.#running.get(upstream) ?? { pulls: 0, holds: new Set() };
    this.#running.set(upstream, running);
    const over = Promise.withResolvers<void>();
    running.holds.add(over.promise);
    running.pulls += pulls;
    let left = pulls;
    const take = (count: number) => {
      running.pulls -= count;
      left -= count;
    };
    return {
      spend: () => take(Math.min(1, left)),
      end: () => {
        take(left);
        running.holds.delete(over.promise);
        if (running.holds.size === 0) this.#running.delete(upstream);
        over.resolve();
      },
    };
  }

  /** Resolves when one of those that hold ends; undefined where there is none. */
  whenOneEnds(upstream: string): Promise<void> | undefined {
    const running = this.#running.get(upstream);
    return running === undefined ? undefined : Promise.race(running.holds);
  }
}
