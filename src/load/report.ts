/**
 * What a run has found, as data: the shape that `--json` writes and the text and the page are made of.
 *
 * The shape is public. `format` changes when a member changes its meaning or goes; members may be added.
 */
import { arch, cpus, platform, release, totalmem } from "node:os";
import type { ImagePlan } from "./image.ts";
import { describeOptions, type LoadOptions } from "./options.ts";
import type { ErrorCount, Point, Quantiles, Tally, Timing } from "./tally.ts";

export interface Report {
  readonly format: "wharfinger-bench/1";
  readonly version: string;
  /** ISO 8601. */
  readonly startedAt: string;
  readonly seconds: number;
  readonly ended: "complete" | "interrupted";
  /** What was asked for; never a password. */
  readonly arguments: Readonly<Record<string, unknown>>;
  /** Where the clients ran. */
  readonly machine: {
    readonly node: string;
    readonly platform: string;
    readonly cpu: string;
    readonly cpus: number;
    readonly memoryBytes: number;
  };
  /** What was pulled, as far as it became known. */
  readonly images: readonly {
    readonly reference: string;
    /** Of the platform's manifest. */
    readonly digest: string;
    readonly blobs: number;
    readonly bytes: number;
  }[];
  readonly totals: {
    readonly pulls: number;
    readonly blobs: number;
    readonly verifiedBlobs: number;
    /** Answers of any kind: redirects, tokens and refusals count. */
    readonly requests: number;
    /** Of bodies. */
    readonly bytes: number;
    readonly errors: number;
    /** `slow`: readers that had a blob under way, the most at one time. */
    readonly slowReaders: number;
  };
  readonly rates: {
    readonly pullsPerSecond: number;
    readonly requestsPerSecond: number;
    readonly bytesPerSecond: number;
  };
  /** Absent members were not measured. */
  readonly latencyMs: Readonly<Partial<Record<Timing, Quantiles>>>;
  readonly errors: readonly Readonly<ErrorCount>[];
  readonly series: { readonly intervalSeconds: number; readonly points: readonly Readonly<Point>[] };
  /** How much of one processor the clients themselves took; near 1 they and not the server were measured. */
  readonly client: { readonly loopBusy: number; readonly cpuSeconds: number; readonly peakMemoryBytes: number };
  /** What a reader should know, in words. */
  readonly notes: readonly string[];
  readonly verdict: Verdict;
}

export type Verdict = "good" | "errors" | "nothing pulled" | "not found" | "refused";

export interface Facts {
  readonly options: LoadOptions;
  readonly tally: Tally;
  readonly seen: ReadonlyMap<string, ImagePlan>;
  readonly startedAt: Date;
  readonly elapsedMs: number;
  readonly ended: "complete" | "interrupted";
  readonly loopBusy: number;
  readonly cpuSeconds: number;
}

const TIMINGS: readonly Timing[] = ["manifest", "blobFirstByte", "blobTotal", "pull"];
const BUSY = 0.9;
const STARVED = 0.7;

export function summarise(facts: Facts): Report {
  const { options, tally, elapsedMs } = facts;
  const seconds = elapsedMs / 1000;
  const perSecond = (count: number) => (seconds > 0 ? rounded(count / seconds) : 0);
  const latencyMs: Partial<Record<Timing, Quantiles>> = {};
  for (const timing of TIMINGS) {
    const quantiles = tally.quantiles(timing);
    if (quantiles !== undefined) latencyMs[timing] = roundedAll(quantiles);
  }
  const errors = [...tally.errors.values()].toSorted((a, b) => b.count - a.count);
  const verdict = judge(options, tally, errors);
  return {
    format: "wharfinger-bench/1",
    version: options.version,
    startedAt: facts.startedAt.toISOString(),
    seconds: rounded(seconds),
    ended: facts.ended,
    arguments: describeOptions(options),
    machine: {
      node: process.versions.node,
      platform: `${platform()} ${release()} ${arch()}`,
      cpu: cpus()[0]?.model ?? "unknown",
      cpus: cpus().length,
      memoryBytes: totalmem(),
    },
    images: imagesOf(facts),
    totals: {
      pulls: tally.pulls,
      blobs: tally.blobs,
      verifiedBlobs: tally.verifiedBlobs,
      requests: tally.requests,
      bytes: tally.bytes,
      errors: tally.errorCount,
      slowReaders: tally.mostReading,
    },
    rates: {
      pullsPerSecond: perSecond(tally.pulls),
      requestsPerSecond: perSecond(tally.requests),
      bytesPerSecond: perSecond(tally.bytes),
    },
    latencyMs,
    errors,
    series: { intervalSeconds: tally.pointMs / 1000, points: tally.points() },
    client: {
      loopBusy: rounded(facts.loopBusy),
      cpuSeconds: rounded(facts.cpuSeconds),
      peakMemoryBytes: process.resourceUsage().maxRSS * 1024,
    },
    notes: notesOf(facts, verdict),
    verdict,
  };
}

/** In the order in which they were asked for; a name that was given twice is one image. */
function imagesOf({ options, seen }: Facts): Report["images"] {
  return [...new Set(options.references)].flatMap((reference) => {
    const found = seen.get(reference);
    if (found === undefined) return [];
    const blobs = found.config === undefined ? found.layers : [found.config, ...found.layers];
    const bytes = blobs.reduce((sum, { sizeBytes }) => sum + Math.max(0, sizeBytes), 0);
    return [{ reference, digest: found.digest, blobs: blobs.length, bytes }];
  });
}

/** Which of the endings a run has come to; `bench` makes exit codes of them. */
export function judge(options: LoadOptions, tally: Tally, errors: readonly Readonly<ErrorCount>[]): Verdict {
  if (tally.errorCount > 0) {
    if (tally.successes > 0) return "errors";
    if (errors.every(({ kind }) => kind === "status 404")) return "not found";
    return errors.every(({ kind }) => kind === "status 401" || kind === "status 403") ? "refused" : "errors";
  }
  const wanted = { manifests: tally.successes, slow: tally.mostReading };
  const got = options.scenario === "manifests" || options.scenario === "slow" ? wanted[options.scenario] : tally.pulls;
  return got > 0 ? "good" : "nothing pulled";
}

function notesOf(facts: Facts, verdict: Verdict): string[] {
  const { options, ended, loopBusy, tally } = facts;
  const notes: string[] = [];
  if (ended === "interrupted") notes.push("The run was ended early.");
  if (!options.verify) notes.push("Blobs were not hashed (--no-verify): wrong bytes would not have been noticed.");
  if (verdict === "nothing pulled") {
    notes.push("No pull was finished in the time given: use a longer --duration, a smaller image or fewer --clients.");
  }
  const share = facts.cpuSeconds / (facts.elapsedMs / 1000);
  if (loopBusy > BUSY && share < STARVED) {
    notes.push(`The clients wanted a whole processor and got ${percent(share)} of one: this machine has other work.`);
  } else if (loopBusy > BUSY) {
    const advice = options.verify && tally.blobs > 0 ? "; --no-verify spares the hashing" : "";
    notes.push(`The clients' own thread was busy ${percent(loopBusy)} of the time and may be what limits${advice}.`);
  }
  if (options.scenario === "slow") {
    notes.push("Manifest, blob and pull times are of one ordinary client; first bytes are of the slow readers, too.");
  }
  if (tally.errors.has("status 429")) notes.push("429: a limit was reached. Ask less, or ask a mirror that is warm.");
  if (tally.errors.has("wrong digest")) notes.push("Wrong digest: the server sent bytes that are not what was named.");
  if ([...tally.errors.values()].some(({ examples }) => examples.some((text) => text.includes("EMFILE")))) {
    notes.push("EMFILE: this machine allows no more open files; raise `ulimit -n` or use fewer --clients.");
  }
  return notes;
}

function percent(share: number): string {
  return `${Math.round(share * 100)} %`;
}

function rounded(value: number): number {
  return Number(value.toFixed(3));
}

function roundedAll(quantiles: Quantiles): Quantiles {
  const { count, mean, min, p50, p90, p99, p999, max } = quantiles;
  return {
    count,
    mean: rounded(mean),
    min: rounded(min),
    p50: rounded(p50),
    p90: rounded(p90),
    p99: rounded(p99),
    p999: rounded(p999),
    max: rounded(max),
  };
}
