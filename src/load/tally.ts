/**
 * What is counted while a run goes on: requests, bytes, pulls, errors by kind, times by kind, and all of it by time.
 *
 * Of bounded size however long the run: histograms are of fixed precision, kinds of errors and their examples are
 * limited, and the time series halves its resolution when it has grown long.
 */
import { createHistogram, type RecordableHistogram } from "node:perf_hooks";
import type { Mishap } from "./mishap.ts";
import type { Meter } from "./receipt.ts";

export type Timing = "manifest" | "blobFirstByte" | "blobTotal" | "pull";

export interface Quantiles {
  readonly count: number;
  /** Milliseconds, as all of these. */
  readonly mean: number;
  readonly min: number;
  readonly p50: number;
  readonly p90: number;
  readonly p99: number;
  readonly p999: number;
  readonly max: number;
}

export interface Point {
  requests: number;
  bytes: number;
  pulls: number;
  errors: number;
}

export interface ErrorCount {
  readonly kind: string;
  count: number;
  /** The first few. */
  readonly examples: string[];
}

const LONGEST_US = 3_600_000_000;
const MAX_KINDS = 32;
const MAX_EXAMPLES = 3;
const MAX_EXAMPLE_LENGTH = 400;
const MAX_POINTS = 600;

export class Tally implements Meter {
  requests = 0;
  bytes = 0;
  pulls = 0;
  blobs = 0;
  verifiedBlobs = 0;
  errorCount = 0;
  /** Requests that have got what they asked for. */
  successes = 0;
  /** Slow readers that had bytes and were not at the end, the most at any one time. */
  mostReading = 0;
  readonly errors = new Map<string, ErrorCount>();
  #reading = 0;
  #pointMs = 1000;
  #points: Point[] = [];
  #startedAt = performance.now();
  #histograms = freshHistograms();

  /** Forgets what was counted, as after a warm-up; errors as well. */
  restart(): void {
    this.requests = this.bytes = this.pulls = this.blobs = this.verifiedBlobs = this.errorCount = this.successes = 0;
    this.mostReading = this.#reading;
    this.errors.clear();
    this.#pointMs = 1000;
    this.#points = [];
    this.#histograms = freshHistograms();
    this.#startedAt = performance.now();
  }

  get elapsedMs(): number {
    return performance.now() - this.#startedAt;
  }

  get pointMs(): number {
    return this.#pointMs;
  }

  /** Up to now: seconds in which nothing came are points, too. */
  points(): readonly Readonly<Point>[] {
    this.#now();
    return this.#points;
  }

  received(bytes: number): void {
    this.bytes += bytes;
    this.#now().bytes += bytes;
  }

  answered(): void {
    this.requests += 1;
    this.#now().requests += 1;
  }

  pulled(ms: number): void {
    this.pulls += 1;
    this.#now().pulls += 1;
    this.time("pull", ms);
  }

  reading(change: 1 | -1): void {
    this.#reading += change;
    this.mostReading = Math.max(this.mostReading, this.#reading);
  }

  time(timing: Timing, ms: number): void {
    this.#histograms[timing].record(Math.min(LONGEST_US, Math.max(1, Math.round(ms * 1000))));
  }

  failed(mishap: Mishap, what: string): void {
    this.errorCount += 1;
    this.#now().errors += 1;
    const kind = this.errors.has(mishap.kind) || this.errors.size < MAX_KINDS ? mishap.kind : "other";
    const entry = this.errors.get(kind) ?? { kind, count: 0, examples: [] };
    this.errors.set(kind, entry);
    entry.count += 1;
    if (entry.examples.length < MAX_EXAMPLES) {
      entry.examples.push(`${what}: ${mishap.message}`.slice(0, MAX_EXAMPLE_LENGTH));
    }
  }

  /** Undefined where nothing of the kind has been timed. */
  quantiles(timing: Timing): Quantiles | undefined {
    const histogram = this.#histograms[timing];
    if (histogram.count === 0) return undefined;
    const ms = (us: number) => us / 1000;
    // The upper end of a bucket may lie a little above the largest value.
    const at = (percent: number) => Math.min(ms(histogram.percentile(percent)), ms(histogram.max));
    return {
      count: histogram.count,
      mean: ms(histogram.mean),
      min: ms(histogram.min),
      p50: at(50),
      p90: at(90),
      p99: at(99),
      p999: at(99.9),
      max: ms(histogram.max),
    };
  }

  #now(): Point {
    let at = Math.floor(this.elapsedMs / this.#pointMs);
    if (at >= MAX_POINTS) {
      while (at >= MAX_POINTS) {
        this.#points = mergePairs(this.#points);
        this.#pointMs *= 2;
        at = Math.floor(this.elapsedMs / this.#pointMs);
      }
    }
    while (this.#points.length < at) this.#points.push(emptyPoint());
    const known = this.#points[at];
    if (known !== undefined) return known;
    const point = emptyPoint();
    this.#points.push(point);
    return point;
  }
}

export function mergePairs(points: readonly Readonly<Point>[]): Point[] {
  const merged: Point[] = [];
  for (const [at, point] of points.entries()) {
    const into = at % 2 === 0 ? emptyPoint() : merged[merged.length - 1];
    if (into === undefined) continue;
    if (at % 2 === 0) merged.push(into);
    into.requests += point.requests;
    into.bytes += point.bytes;
    into.pulls += point.pulls;
    into.errors += point.errors;
  }
  return merged;
}

function emptyPoint(): Point {
  return { requests: 0, bytes: 0, pulls: 0, errors: 0 };
}

function freshHistograms(): Record<Timing, RecordableHistogram> {
  const make = () => createHistogram({ lowest: 1, highest: LONGEST_US, figures: 3 });
  return { manifest: make(), blobFirstByte: make(), blobTotal: make(), pull: make() };
}
