/**
 * Shows how a run is going: one line that is redrawn on a terminal, and a line now and then elsewhere.
 */
import { progressLine, type Sight, sightOf } from "./progress.ts";
import type { Tally } from "./tally.ts";

export interface DisplayOutput {
  write(text: string): unknown;
  readonly isTTY?: boolean;
  readonly columns?: number;
}

const REDRAW_MS = 250;
const LINE_MS = 5_000;
/** Rates on a terminal are of the last second. */
const WINDOW = 4;
const CLEAR_LINE = "\r\x1b[2K";

export class Display {
  readonly #output: DisplayOutput;
  readonly #sights: Sight[] = [];
  #drawn = false;

  constructor(output: DisplayOutput) {
    this.#output = output;
  }

  get tickMs(): number {
    return this.#output.isTTY === true ? REDRAW_MS : LINE_MS;
  }

  /** Some terminals say that they have none. */
  get #columns(): number {
    const { columns } = this.#output;
    return columns !== undefined && columns > 0 ? columns : 80;
  }

  tick(tally: Tally): void {
    const now = sightOf(tally);
    const line = progressLine(now, this.#sights[0]);
    this.#sights.push(now);
    if (this.#output.isTTY !== true) {
      this.#sights.splice(0, this.#sights.length - 1);
      this.#output.write(`${line}\n`);
      return;
    }
    if (this.#sights.length > WINDOW) this.#sights.shift();
    // A line that wraps could not be cleared.
    this.#output.write(`${CLEAR_LINE}${line.slice(0, this.#columns - 1)}`);
    this.#drawn = true;
  }

  /** Takes the line away, so that what comes next begins on a clean one. */
  clear(): void {
    if (this.#drawn) this.#output.write(CLEAR_LINE);
    this.#drawn = false;
  }
}
