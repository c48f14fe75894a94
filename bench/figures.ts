/**
 * Figures, their spread, and what is asked of them: pure.
 *
 * A figure keeps the samples it is the median of, so that it can be shown with its spread, drawn, and joined with the
 * same figure of other runs.
 */

/** What is asked of a figure. `must` decides the exit code, `aim` is where the project wants to be. */
export interface Bar {
  readonly sense: "atMost" | "atLeast" | "exactly";
  readonly must: number;
  readonly aim?: number;
}

export interface Finding {
  readonly what: string;
  readonly value: number;
  /** What the value is the median of; at least one. */
  readonly samples: readonly number[];
  readonly unit: string;
  readonly digits: number;
  /** What the reader must know of this figure. */
  readonly note?: string;
  /** Undefined where the figure informs. */
  readonly bar?: Bar;
}

export type Verdict = "" | "MISS" | "pass" | "aim reached";

export interface FindingDetails {
  readonly unit?: string;
  readonly digits?: number;
  readonly note?: string | undefined;
  readonly bar?: Bar;
}

export const atMost = (must: number, aim?: number): Bar => ({
  sense: "atMost",
  must,
  ...(aim === undefined ? {} : { aim }),
});
export const atLeast = (must: number, aim?: number): Bar => ({
  sense: "atLeast",
  must,
  ...(aim === undefined ? {} : { aim }),
});
export const exactly = (must: number): Bar => ({ sense: "exactly", must });

export function finding(what: string, samples: readonly number[], details: FindingDetails = {}): Finding {
  const { unit = "", digits = 2, note, bar } = details;
  return {
    what,
    value: median(samples),
    samples,
    unit,
    digits,
    ...(note === undefined ? {} : { note }),
    ...(bar === undefined ? {} : { bar }),
  };
}

/** Round by round, since what disturbs one round disturbs both of its halves. A round without its other half is left out. */
export function ratios(ours: readonly number[], theirs: readonly number[]): number[] {
  return ours.flatMap((value, round) => {
    const other = theirs[round];
    return other === undefined || !(other > 0) || !Number.isFinite(value) ? [] : [value / other];
  });
}

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  const upper = sorted[middle] ?? Number.NaN;
  return sorted.length % 2 === 1 ? upper : (upper + (sorted[middle - 1] ?? Number.NaN)) / 2;
}

/** The smallest value that `share` of all are not above; nearest rank. */
export function percentile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.max(0, Math.ceil(sorted.length * share) - 1)] ?? Number.NaN;
}

/** "median (min–max)", or the only value where all look alike. */
export function spread(values: readonly number[], digits = 2): string {
  const middle = median(values).toFixed(digits);
  const [low, high] = [Math.min(...values).toFixed(digits), Math.max(...values).toFixed(digits)];
  return values.length < 2 || low === high ? middle : `${middle} (${low}–${high})`;
}

/** A figure that is not a number misses whatever is asked of it. */
export function judge({ value, bar }: Pick<Finding, "value" | "bar">): Verdict {
  if (bar === undefined) return "";
  const { sense, must, aim } = bar;
  const holds = (limit: number) =>
    sense === "exactly" ? value === limit : sense === "atMost" ? value <= limit : value >= limit;
  if (!holds(must)) return "MISS";
  return aim !== undefined && holds(aim) ? "aim reached" : "pass";
}

export function limitText(bar: Bar | undefined, which: "must" | "aim"): string {
  const limit = bar?.[which];
  if (bar === undefined || limit === undefined) return "–";
  return `${{ exactly: "=", atMost: "≤", atLeast: "≥" }[bar.sense]} ${limit}`;
}

export function figureText({ samples, digits, unit, note }: Finding): string {
  const figure = `${spread(samples, digits)}${unit === "" ? "" : ` ${unit}`}`;
  return note === undefined ? figure : `${figure}; ${note}`;
}

/** The same finding of several runs as one: the median of the runs, which are its samples then. */
export function joinRuns(runs: readonly Finding[]): Finding | undefined {
  const last = runs.at(-1);
  if (last === undefined || runs.length === 1) return last;
  const samples = runs.map(({ value }) => value);
  return { ...last, value: median(samples), samples };
}
