/**
 * Settings of an LRU cache of many small entries.
 *
 * `max` sets all room aside at once, which costs every start time and memory (20,000 entries: 2 ms and 300 KiB) though most
 * caches are never full; a bound over sizes that are all one holds as strictly and takes room as it is needed.
 */
export function atMost(entries: number): { readonly maxSize: number; readonly sizeCalculation: () => number } {
  return { maxSize: entries, sizeCalculation: () => 1 };
}
