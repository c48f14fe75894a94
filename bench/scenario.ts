/**
 * What a scenario is given, and what it gives back.
 */
import { availableParallelism } from "node:os";
import type { Library } from "./library.ts";
import { type MirrorServed, startMirror } from "./mirror.ts";
import type { Origin } from "./origin.ts";
import type { Puller } from "./pull.ts";

export interface Finding {
  readonly what: string;
  readonly value: number;
  /** How it is shown: the figure with its unit, and its spread where there is one. */
  readonly text: string;
  /** Undefined where there is no bar: the figure informs. */
  readonly bar?: { readonly text: string; readonly held: boolean };
}

export interface Scenario {
  readonly name: string;
  /** In one line. */
  readonly measures: string;
  /** @throws MissingProgram, or what went wrong. */
  run(bench: Bench): Promise<void>;
}

export interface BenchParts {
  readonly dir: string;
  readonly quick: boolean;
  readonly library: Library;
  readonly origin: Origin;
  readonly puller: Puller;
  readonly profileDir: string | undefined;
}

/** One scenario's surroundings. What it has found stays found, whatever fails after. */
export class Bench {
  readonly parts: BenchParts;
  readonly findings: Finding[] = [];
  readonly #name: string;
  readonly #onFinding: (finding: Finding) => void;
  readonly #daemons = new AsyncDisposableStack();

  constructor(name: string, parts: BenchParts, onFinding: (finding: Finding) => void) {
    this.#name = name;
    this.parts = parts;
    this.#onFinding = onFinding;
  }

  /** A mirror with an empty cache, stopped at the scenario's end. */
  async mirror(core?: number): Promise<MirrorServed> {
    const { dir, origin, profileDir } = this.parts;
    const name = `mirror-${this.#name}`;
    return this.keep(await startMirror({ name, dir, upstreamUrl: origin.url, core, profileDir }));
  }

  /** Stops it at the scenario's end. */
  keep<Kept extends { readonly daemon: AsyncDisposable }>(served: Kept): Kept {
    this.#daemons.use(served.daemon);
    return served;
  }

  find(finding: Finding): void {
    this.findings.push(finding);
    this.#onFinding(finding);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#daemons.disposeAsync();
  }
}

export const MIB = 1024 * 1024;

/** The server's core and the client's, where there are two. */
export function cores(): { readonly server: number | undefined; readonly client: number | undefined } {
  return availableParallelism() >= 2 ? { server: 0, client: 1 } : { server: undefined, client: undefined };
}

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  const upper = sorted[middle] ?? Number.NaN;
  return sorted.length % 2 === 1 ? upper : (upper + (sorted[middle - 1] ?? Number.NaN)) / 2;
}

/** "median (min–max)". */
export function spread(values: readonly number[], digits = 2): string {
  const [low, high] = [Math.min(...values), Math.max(...values)];
  return `${median(values).toFixed(digits)} (${low.toFixed(digits)}–${high.toFixed(digits)})`;
}
