/**
 * Work that would gladly go on for ever, done in turns: so much of it in each round of the event loop, and whoever wants
 * something small in between gets it.
 */

/** Does at most `limitBytes` of its work. @returns how many bytes it moved, and whether it wants another turn. */
export type Turn = (limitBytes: number) => { readonly bytes: number; readonly again: boolean };

/** What one round moves: less than a millisecond of a processor's time. */
const ROUND_BYTES = 2 * 1024 * 1024;
/** Each piece wakes its reader when it is there: in quarters of this, sending costs twice as much. */
const LEAST_BYTES = 1024 * 1024;

export class Turns {
  #waiting: Turn[] = [];
  #scheduled = false;

  /** Queues behind everyone who waits already. */
  want(turn: Turn): void {
    this.#waiting.push(turn);
    this.#schedule();
  }

  #schedule(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    setImmediate(() => this.#round());
  }

  #round(): void {
    this.#scheduled = false;
    const waiting = this.#waiting;
    this.#waiting = [];
    const limit = Math.max(LEAST_BYTES, Math.floor(ROUND_BYTES / waiting.length));
    let left = ROUND_BYTES;
    let at = 0;
    for (; at < waiting.length && left > 0; at += 1) {
      const turn = waiting[at];
      if (turn === undefined) break;
      const { bytes, again } = turn(limit);
      left -= bytes;
      if (again) this.#waiting.push(turn);
    }
    // Who had no turn in this round comes first in the next.
    if (at < waiting.length) this.#waiting = [...waiting.slice(at), ...this.#waiting];
    if (this.#waiting.length > 0) this.#schedule();
  }
}
