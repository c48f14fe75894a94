/**
 * Whether the store takes one more blob. Pure. What it does not take is streamed through and not kept.
 */

export interface StoreLimits {
  /** Undefined: no limit of our own. */
  readonly maxBytes: number | undefined;
  /** Never let the file system fall below this. */
  readonly minFreeBytes: number;
}

export interface StoreState {
  readonly storedBytes: number;
  readonly freeBytes: number;
}

/** @returns why not, in the words of `Cache-Status`' `detail`; undefined where it is taken. */
export function findRefusal(limits: StoreLimits, state: StoreState, sizeBytes: number): string | undefined {
  if (limits.maxBytes !== undefined && state.storedBytes + sizeBytes > limits.maxBytes) return "cache-full";
  return state.freeBytes - sizeBytes < limits.minFreeBytes ? "disk-full" : undefined;
}
