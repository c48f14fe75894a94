/**
 * Which image is asked for next, where some are much more popular than others (Zipf's law): the k-th with a
 * probability in proportion to 1/k^exponent. The same seed gives the same sequence.
 */

/** Numbers in [0, 1), always the same for one seed (mulberry32). */
export function seededRandom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let word = Math.imul(state ^ (state >>> 15), state | 1);
    word ^= word + Math.imul(word ^ (word >>> 7), word | 61);
    return ((word ^ (word >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Shares of `count` ranks, adding up as they go on; the last one is 1. Exponent 0 makes all equal. */
export function zipfShares(count: number, exponent: number): number[] {
  const weights = Array.from({ length: count }, (_, at) => (at + 1) ** -exponent);
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  let sum = 0;
  const shares = weights.map((weight) => {
    sum += weight / total;
    return sum;
  });
  // Rounding must not leave a gap at the end.
  if (count > 0) shares[count - 1] = 1;
  return shares;
}

/** @param point in [0, 1) @returns the rank, from 0 */
export function zipfRank(shares: readonly number[], point: number): number {
  let low = 0;
  let high = shares.length - 1;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (point < (shares[middle] ?? 1)) high = middle;
    else low = middle + 1;
  }
  return low;
}
