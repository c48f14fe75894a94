/**
 * A limit on what runs at once. Who waits for a slot waits by its own signal, not by a timeout of the network: a blob
 * that queues behind others is slow, not unreachable.
 */
import { systemClock } from "../../base/clock.ts";
import type { Standing } from "./fairqueue.ts";
import { Line, type LineOptions } from "./line.ts";

/** Where somebody else has bounded who comes: no end to the line, nor to a wait. */
const UNBOUNDED: LineOptions = {
  upstream: "the upstream",
  setting: "connections",
  clock: systemClock,
  places: Number.POSITIVE_INFINITY,
  patienceMs: { miss: Number.POSITIVE_INFINITY, refresh: Number.POSITIVE_INFINITY },
};

export class Slots {
  #free: number;
  readonly #line: Line;

  /** @param line without it, nobody who waits is turned away. */
  constructor(count: number, line: LineOptions = UNBOUNDED) {
    this.#free = count;
    this.#line = new Line(line);
  }

  /** How many wait. */
  get waiting(): number {
    return this.#line.size;
  }

  /**
   * @returns the function that gives the slot back; calling it again does nothing. Rejects with the signal's reason, or
   * a Failure `overloaded`.
   */
  async take(signal: AbortSignal, standing: Standing = {}): Promise<() => void> {
    signal.throwIfAborted();
    if (this.#free > 0) this.#free--;
    else await this.#line.wait(signal, standing);
    let held = true;
    return () => {
      if (!held) return;
      held = false;
      if (!this.#line.admit()) this.#free++;
    };
  }
}
