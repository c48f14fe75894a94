/**
 * Long lists in short turns: a bundle has hundreds of thousands of pieces, and between two turns the event loop is
 * everybody's.
 */
import { setImmediate } from "node:timers/promises";

const TURN_MS = 3;

export class Turns {
  #began = performance.now();

  /** To be awaited between small steps. */
  async pass(): Promise<void> {
    if (performance.now() - this.#began < TURN_MS) return;
    await setImmediate();
    this.#began = performance.now();
  }
}

export async function filterInTurns<T>(items: Iterable<T>, isWanted: (item: T) => boolean): Promise<T[]> {
  const turns = new Turns();
  const found: T[] = [];
  for (const item of items) {
    if (isWanted(item)) found.push(item);
    await turns.pass();
  }
  return found;
}
