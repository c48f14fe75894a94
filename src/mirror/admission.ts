/**
 * Whether the store takes one more blob, and what has to leave for it. Pure. What it does not take is streamed through
 * and not kept.
 *
 * A small newcomer may take the place of whatever is worth least. A large one, the rest of its image counted in, only of
 * what is worth less than itself: one huge image that is seen once must not sweep out what a hundred runners share.
 */

export interface StoreLimits {
  /** Undefined: no limit of our own. */
  readonly maxBytes: number | undefined;
  /** Never let the file system fall below this. */
  readonly minFreeBytes: number;
  /** What of it an upstream may have at most, for those that have such a limit. */
  readonly shares?: ReadonlyMap<string, number>;
}

export interface StoreState {
  /** What is stored, and what running fills have set aside. */
  readonly storedBytes: number;
  /** What is free, without what running fills will still take of it. */
  readonly freeBytes: number;
}

/** Why something has to leave, in the words of the metrics. */
export type Need = "size" | "free-space" | "upstream-share";

export interface Shortage {
  readonly need: Need;
  readonly bytes: number;
}

/** Of the cache's limit; what is no larger is small. */
const SMALL_SHARE = 1 / 16;

/** In the words of `Cache-Status`' `detail`. */
const REFUSALS: Readonly<Record<Need, string>> = {
  size: "cache-full",
  "free-space": "disk-full",
  "upstream-share": "upstream-share",
};

export function refusalText(need: Need): string {
  return REFUSALS[need];
}

/** What is missing before a blob of this size fits; the one limit that misses most. Undefined where it fits. */
export function findShortage(limits: StoreLimits, state: StoreState, sizeBytes: number): Shortage | undefined {
  const ofSize = limits.maxBytes === undefined ? 0 : state.storedBytes + sizeBytes - limits.maxBytes;
  const ofFree = limits.minFreeBytes + sizeBytes - state.freeBytes;
  if (ofSize <= 0 && ofFree <= 0) return undefined;
  return ofSize >= ofFree ? { need: "size", bytes: ofSize } : { need: "free-space", bytes: ofFree };
}

/** @returns why not, in the words of `Cache-Status`' `detail`; undefined where it is taken. */
export function findRefusal(limits: StoreLimits, state: StoreState, sizeBytes: number): string | undefined {
  if (limits.maxBytes !== undefined && state.storedBytes + sizeBytes > limits.maxBytes) return "cache-full";
  return findShortage(limits, state, sizeBytes) === undefined ? undefined : "disk-full";
}

/** How much may be stored in all, as things are: our own limit, or what the file system has for us. */
export function limitOf(limits: StoreLimits, state: StoreState): number {
  const disk = Math.max(0, state.storedBytes + state.freeBytes - limits.minFreeBytes);
  return Math.min(limits.maxBytes ?? Number.POSITIVE_INFINITY, disk);
}

export interface Watermarks {
  /** Shares of the limit. Above `high` something leaves, until it is `low`. */
  readonly high: number;
  readonly low: number;
}

/** What should leave so that there is room before somebody needs it; undefined where there is enough. */
export function findExcess(limits: StoreLimits, state: StoreState, marks: Watermarks): Shortage | undefined {
  const limit = limitOf(limits, state);
  if (state.storedBytes <= limit * marks.high) return undefined;
  const need = limit === limits.maxBytes ? "size" : "free-space";
  return { need, bytes: Math.ceil(state.storedBytes - limit * marks.low) };
}

/** @param imageBytes the newcomer with what comes along with it. */
export function isSmall(imageBytes: number, limitBytes: number): boolean {
  return imageBytes <= limitBytes * SMALL_SHARE;
}
