/**
 * How the pulls that an upstream allows are spent: pure, from what is left of them.
 *
 * The invariants: a part is kept for what is not stored; a tag is believed the longer the less is left, and never longer
 * than it may be served while the upstream fails; a change is begun only where all of it is covered, or never could be. An
 * upstream that names no limit is asked as ever.
 */
import { type BudgetView, RELOOK_MS } from "../upstream/limits/budget.ts";
import type { FreshnessPolicy } from "./freshness.ts";

/** From this share of the limit downwards pulls are saved. */
const PLENTY = 0.5;
const RESERVED = 0.1;
const LEAST_RESERVE = 2;
/** With nothing but the reserve left a tag is believed so many times as long. */
const MOST_STRETCH = 24;

export type PullsLeft = Pick<BudgetView, "limit" | "remaining" | "windowMs" | "saidAt" | "closedUntil">;

/** Pulls that are kept for what is not stored. */
export function reserveOf(limit: number): number {
  return Math.min(limit, Math.max(LEAST_RESERVE, Math.ceil(limit * RESERVED)));
}

/** How many times as long a tag is believed: 1 with half of the limit left or more, 24 with the reserve, between them evenly growing. */
export function stretchOf(remaining: number, limit: number): number {
  const reserve = reserveOf(limit);
  const half = limit * PLENTY;
  if (remaining >= half) return 1;
  if (remaining <= reserve) return MOST_STRETCH;
  return MOST_STRETCH ** ((half - remaining) / (half - reserve));
}

/**
 * For how long something stored is not asked for, although its time is over; 0: it is asked for.
 * @param pledged pulls that are as good as spent.
 * @param ageMs since the upstream last confirmed it. Negative (the clock was set back) proves nothing.
 */
export function savedMs(
  left: PullsLeft | undefined,
  pledged: number,
  ageMs: number,
  policy: FreshnessPolicy,
  now: number,
): number {
  if (left === undefined) return 0;
  if (left.closedUntil > now) return left.closedUntil - now;
  const { limit, remaining } = left;
  if (limit === undefined || remaining === undefined) return 0;
  const free = remaining - pledged;
  // A window of a minute is not worth hours of believing: soon nobody will know what is left.
  const windowMs = left.windowMs ?? Number.POSITIVE_INFINITY;
  if (free <= reserveOf(limit)) {
    const knownForMs = now - (left.saidAt ?? now);
    return Math.max(0, Math.min(RELOOK_MS, windowMs) - Math.max(0, knownForMs));
  }
  const believedMs = Math.min(policy.tags * stretchOf(free, limit), policy.staleIfError);
  return ageMs < 0 ? 0 : Math.max(0, Math.min(believedMs - ageMs, windowMs));
}

/** Whether pulls are short: then nobody is told of a change before its content is here. */
export function isTight(left: PullsLeft | undefined, pledged: number): boolean {
  if (left?.limit === undefined) return false;
  return left.remaining === undefined || left.remaining - pledged < left.limit * PLENTY;
}

/**
 * Whether a change may be taken over that costs so many pulls. Where nobody knows what is left, the upstream is asked and
 * tells. One that will never fit beside the reserve takes what there is of a window that is nobody else's; what it brings
 * stays, so that the next window has less to bring.
 */
export function mayTakeOver(left: PullsLeft | undefined, pledged: number, pulls: number): boolean {
  if (left?.limit === undefined || left.remaining === undefined) return true;
  const { limit, remaining } = left;
  const spare = limit - reserveOf(limit);
  if (remaining - pledged - reserveOf(limit) >= pulls) return true;
  return pulls > spare && pledged === 0 && remaining > 0 && remaining >= spare;
}

/** In how many milliseconds a change that could not be taken over is looked at again. */
export function putOffMs(left: PullsLeft | undefined): number {
  return Math.min(RELOOK_MS, left?.windowMs ?? RELOOK_MS);
}
