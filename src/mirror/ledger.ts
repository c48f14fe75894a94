/**
 * What is remembered for a while, by key: bounded, and the one who forgets is the least asked for.
 *
 * Whoever keeps a copy elsewhere (a front in another process) is told of every change, in order, and starts from
 * `entries()`. A copy may hold more than its original, since what falls out for want of space is not told; every entry
 * carries the time that it is good for.
 */
import { LRUCache } from "lru-cache";
import { atMost } from "../base/bounded.ts";

/** `undefined`: forgotten. */
export type LedgerChange<V> = (key: string, value: V | undefined) => void;

export class Ledger<V extends object> {
  readonly #entries: LRUCache<string, V>;
  #tell: LedgerChange<V> | undefined;

  constructor(maxEntries: number) {
    this.#entries = new LRUCache(atMost(maxEntries));
  }

  get size(): number {
    return this.#entries.size;
  }

  get(key: string): V | undefined {
    return this.#entries.get(key);
  }

  set(key: string, value: V): void {
    this.#entries.set(key, value);
    this.#tell?.(key, value);
  }

  delete(key: string): void {
    if (this.#entries.delete(key)) this.#tell?.(key, undefined);
  }

  entries(): [key: string, value: V][] {
    return [...this.#entries.entries()];
  }

  /** There is one who is told. */
  onChange(tell: LedgerChange<V>): void {
    this.#tell = tell;
  }
}
