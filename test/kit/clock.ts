/**
 * A clock that the test moves.
 */
import type { Clock } from "../../src/base/clock.ts";

interface Alarm {
  readonly dueAt: number;
  readonly callback: () => void;
}

export class ManualClock implements Clock {
  #now: number;
  readonly #alarms = new Set<Alarm>();

  /** @param startAt milliseconds since the epoch; the default is a fixed day in 2026. */
  constructor(startAt = Date.UTC(2026, 0, 1)) {
    this.#now = startAt;
  }

  now(): number {
    return this.#now;
  }

  after(delayMs: number, callback: () => void): () => void {
    const alarm = { dueAt: this.#now + Math.max(0, delayMs), callback };
    this.#alarms.add(alarm);
    return () => this.#alarms.delete(alarm);
  }

  /** How many callbacks wait. */
  get pending(): number {
    return this.#alarms.size;
  }

  /** In how many milliseconds the next callback is due; undefined where none waits. */
  get nextInMs(): number | undefined {
    const next = this.#next();
    return next === undefined ? undefined : next.dueAt - this.#now;
  }

  /**
   * Moves time on, calling what comes due in its order. Between two callbacks everything they resolved runs, so what
   * waits again from there is served by the same call.
   */
  async advance(byMs: number): Promise<void> {
    const until = this.#now + byMs;
    await breathe();
    for (let alarm = this.#next(); alarm !== undefined && alarm.dueAt <= until; alarm = this.#next()) {
      this.#now = Math.max(this.#now, alarm.dueAt);
      this.#alarms.delete(alarm);
      alarm.callback();
      await breathe();
    }
    this.#now = until;
    await breathe();
  }

  /** Moves time on, 50 ms of it for each of a real millisecond or so, until the work is done: for what waits by turns. */
  async during<T>(work: Promise<T>): Promise<T> {
    let over = false;
    const end = () => {
      over = true;
    };
    work.then(end, end);
    while (!over) {
      await this.advance(50);
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
    return await work;
  }

  /** Moves time on and calls nothing, as a suspended machine would see it. */
  jump(byMs: number): void {
    this.#now += byMs;
  }

  #next(): Alarm | undefined {
    let first: Alarm | undefined;
    for (const alarm of this.#alarms) if (first === undefined || alarm.dueAt < first.dueAt) first = alarm;
    return first;
  }
}

function breathe(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
