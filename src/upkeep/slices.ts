/**
 * Long work in short slices: between two of them the event loop is everybody's.
 */
import { setImmediate } from "node:timers/promises";

const SLICE_MS = 3;

export class Slices {
  readonly #signal: AbortSignal;
  #began = performance.now();

  constructor(signal: AbortSignal) {
    this.#signal = signal;
  }

  /** To be awaited between small steps. @throws the signal's reason. */
  async pass(): Promise<void> {
    this.#signal.throwIfAborted();
    if (performance.now() - this.#began < SLICE_MS) return;
    await setImmediate();
    this.#signal.throwIfAborted();
    this.#began = performance.now();
  }

  /** After a wait for something else, which gave the loop away as well. */
  refresh(): void {
    this.#signal.throwIfAborted();
    this.#began = performance.now();
  }
}
