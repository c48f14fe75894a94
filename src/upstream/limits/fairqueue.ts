/**
 * Whose turn it is, of those who wait for something scarce. Knows neither time nor promises.
 *
 * The order: misses before refreshes, though one turn in sixteen is a refresh's; among each, repositories in turn; of
 * one repository, who came first. So no repository waits for more than one turn of every other.
 */
import type { Urgency } from "../urgency.ts";

/** Where somebody stands in a queue. */
export interface Standing {
  /** Default: a miss. */
  readonly urgency?: Urgency | undefined;
  /** Turns are shared among these: the repository. Default: one for all who name none. */
  readonly key?: string | undefined;
}

/** So many misses go before a refresh that waits. */
const MISSES_BEFORE_REFRESH = 15;

export class FairQueue<T> {
  readonly #misses = new Rota<T>();
  readonly #refreshes = new Rota<T>();
  /** Misses that went before refreshes that were waiting. */
  #passedOver = 0;

  get size(): number {
    return this.#misses.size + this.#refreshes.size;
  }

  add(one: T, standing: Standing): void {
    this.#rotaOf(standing).add(one, standing.key ?? "");
  }

  /** Does nothing where it is not there. */
  remove(one: T, standing: Standing): void {
    this.#rotaOf(standing).remove(one, standing.key ?? "");
    if (this.#refreshes.size === 0) this.#passedOver = 0;
  }

  /** Takes out whose turn it is. */
  next(): T | undefined {
    const owed = this.#passedOver >= MISSES_BEFORE_REFRESH && this.#refreshes.size > 0;
    if (owed || this.#misses.size === 0) {
      this.#passedOver = 0;
      return this.#refreshes.next();
    }
    this.#passedOver = this.#refreshes.size > 0 ? this.#passedOver + 1 : 0;
    return this.#misses.next();
  }

  /** The refresh that is the furthest from its turn: who makes room for a miss. */
  get lastRefresh(): T | undefined {
    return this.#refreshes.last;
  }

  #rotaOf({ urgency }: Standing): Rota<T> {
    return urgency === "refresh" ? this.#refreshes : this.#misses;
  }
}

/** Keys in turn, and those of one key as they came. */
class Rota<T> {
  /** The key whose turn it is comes first. */
  readonly #keys = new Map<string, Set<T>>();
  size = 0;

  add(one: T, key: string): void {
    const those = this.#keys.get(key);
    if (those === undefined) this.#keys.set(key, new Set([one]));
    else if (those.has(one)) return;
    else those.add(one);
    this.size += 1;
  }

  remove(one: T, key: string): void {
    const those = this.#keys.get(key);
    if (those?.delete(one) !== true) return;
    this.size -= 1;
    if (those.size === 0) this.#keys.delete(key);
  }

  next(): T | undefined {
    for (const [key, those] of this.#keys) {
      for (const one of those) {
        this.remove(one, key);
        // To the end of the turn.
        if (this.#keys.delete(key)) this.#keys.set(key, those);
        return one;
      }
    }
    return undefined;
  }

  /** The youngest of the key that has most. */
  get last(): T | undefined {
    let most: Set<T> | undefined;
    for (const those of this.#keys.values()) if (most === undefined || those.size >= most.size) most = those;
    return most === undefined ? undefined : [...most].at(-1);
  }
}
