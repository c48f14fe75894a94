/**
 * A clock that is set, forth and back, while what waits goes on waiting: timers count time, not dates.
 */
import type { Clock } from "../../src/base/clock.ts";
import { ManualClock } from "./clock.ts";

export class WallClock implements Clock {
  readonly #time: ManualClock;
  #set = 0;

  constructor(startAt: number) {
    this.#time = new ManualClock(startAt);
  }

  now(): number {
    return this.#time.now() + this.#set;
  }

  after(delayMs: number, callback: () => void): () => void {
    return this.#time.after(delayMs, callback);
  }

  get pending(): number {
    return this.#time.pending;
  }

  get nextInMs(): number | undefined {
    return this.#time.nextInMs;
  }

  advance(byMs: number): Promise<void> {
    return this.#time.advance(byMs);
  }

  /** Somebody sets it, or the machine slept: no timer has come closer. */
  set(byMs: number): void {
    this.#set += byMs;
  }
}
