/**
 * How much of what is asked may be asked again: a fifth of the questions of the last seconds, and a few.
 *
 * A herd of misses that all fail would otherwise ask four times as much of an upstream that is in trouble already. The
 * invariant: of the last `SPAN_MS` no more repetitions are let go than a fifth of its questions, and `FREE`.
 */
import type { Clock } from "../../base/clock.ts";

const SPAN_MS = 10_000;
const SLOTS = 10;
const SLOT_MS = SPAN_MS / SLOTS;
const FREE = 10;
const SHARE = 0.2;

export class RetryBudget {
  readonly #clock: Clock;
  readonly #questions = new Array<number>(SLOTS).fill(0);
  readonly #again = new Array<number>(SLOTS).fill(0);
  #slot: number;

  constructor(clock: Clock) {
    this.#clock = clock;
    this.#slot = this.#now();
  }

  /** A question is asked for the first time. */
  note(): void {
    this.#turn();
    this.#add(this.#questions);
  }

  /** True where one may be asked again, which is counted then. */
  take(): boolean {
    this.#turn();
    if (sum(this.#again) >= FREE + sum(this.#questions) * SHARE) return false;
    this.#add(this.#again);
    return true;
  }

  #now(): number {
    return Math.floor(this.#clock.now() / SLOT_MS);
  }

  /** Empties what is over; all of it where the clock was set back. */
  #turn(): void {
    const slot = this.#now();
    const passed = slot < this.#slot ? SLOTS : Math.min(SLOTS, slot - this.#slot);
    for (let at = 0; at < passed; at++) {
      const index = modulo(slot - at);
      this.#questions[index] = 0;
      this.#again[index] = 0;
    }
    this.#slot = slot;
  }

  #add(counts: number[]): void {
    const index = modulo(this.#slot);
    counts[index] = (counts[index] ?? 0) + 1;
  }
}

function modulo(slot: number): number {
  return ((slot % SLOTS) + SLOTS) % SLOTS;
}

function sum(counts: readonly number[]): number {
  return counts.reduce((total, count) => total + count, 0);
}
