/**
 * Scrubs by the admin API: how it stands with them, and one that is begun or watched as it goes.
 *
 * Who begins one and leaves ends it; it goes on where it was the next time. Who joins one that runs only watches.
 */
import * as z from "zod";
import { type Clock, pause } from "../base/clock.ts";
import { Failure } from "../base/failure.ts";
import type { Notices } from "../base/notices.ts";
import type { Tags } from "../meta/tags.ts";
import type { DamageFact } from "../mirror/damage.ts";
import type { MirrorNotices } from "../mirror/notices.ts";
import type { Digest } from "../oci/digest.ts";
import type { DiskStore } from "../store/disk.ts";
import { type ReconcileParts, type ReconcileReport, reconcile } from "../upkeep/reconcile.ts";
import type { Scrub, ScrubProgress, ScrubReport } from "../upkeep/scrub.ts";
import type { Truth } from "../upkeep/truth.ts";
import { type ApiCall, type ApiEvent, eventOperation, jsonOperation, type Operation } from "./operation.ts";
import { imageReference, imageText, type NamedImage } from "./reference.ts";

export interface ScrubOperationParts extends ReconcileParts {
  readonly store: ReconcileParts["store"] & Pick<DiskStore, "acceptHome">;
  readonly scrub: Pick<Scrub, "run" | "progress" | "report" | "isUnfinished">;
  readonly truth: Pick<Truth, "moments" | "digestsBelow">;
  readonly tags: Pick<Tags, "find">;
  readonly config: { readonly cache: { readonly scrub: { readonly bandwidth: number | null } } };
  readonly clock: Clock;
  readonly notices: Notices<MirrorNotices>;
}

const TOLD_EVERY_MS = 500;
/** Of what is found between two looks, so many are told one by one; all of them are counted. */
const MAX_UNTOLD = 1000;
const MIN_BANDWIDTH = 64 * 1024;
const MAX_REFERENCES = 1000;

const INPUT = z.strictObject({
  references: z
    .array(imageReference)
    .min(1)
    .max(MAX_REFERENCES)
    .optional()
    .describe("Only these images, with all that is stored of them; default everything"),
  bandwidth: z
    .int()
    .min(MIN_BANDWIDTH)
    .nullable()
    .optional()
    .describe("Bytes read per second at most; null = no limit; default as configured"),
  rebuild: z.boolean().optional().describe("First make the index agree with the files, and read all manifests into it"),
  restart: z.boolean().optional().describe("Begin anew, where an earlier one was stopped half way"),
  join: z.boolean().optional().describe("Watch the one that runs, if one does"),
});

type Input = z.output<typeof INPUT>;

const COUNTS = {
  blobs: z.int().describe("Read so far"),
  bytes: z.int(),
  damaged: z.int().describe("Files that were wrong, and are no longer in the store"),
  damagedBytes: z.int(),
  missing: z.int().describe("Rows of the index whose file was gone"),
  adopted: z.int().describe("Good files that the index did not know"),
  adoptedBytes: z.int(),
  strays: z.int().describe("What lies among the blobs and is none; left as it is"),
  unchecked: z.int().describe("What could not be read for want of memory or descriptors"),
};

const PROGRESS = z.object({ ...COUNTS, totalBlobs: z.int(), totalBytes: z.int() });
const DAMAGE = z.object({
  digest: z.string(),
  sizeBytes: z.int().optional().describe("As it should be"),
  damage: z.enum(["digest", "size", "unreadable", "no-file"]),
  reason: z.string(),
  pinned: z.boolean(),
  where: z.string().optional().describe('Where the file is now, "removed", or absent where it could not be moved'),
});
const REPORT = z.object({
  ...COUNTS,
  startedAt: z.string().describe("ISO 8601"),
  endedAt: z.string().describe("ISO 8601"),
  resumed: z.boolean().describe("It went on where an earlier one was stopped; the counts are of both"),
  damage: z.array(DAMAGE).describe("The first hundred"),
  index: z.object({}).optional().describe("What was rebuilt of the index"),
});

const STATE = z.object({
  running: PROGRESS.nullable(),
  unfinished: z.boolean().describe("One was stopped half way; the next goes on there"),
  lastEndedAt: z.string().nullable().describe("ISO 8601: when the last one had read everything"),
  nextAt: z.string().nullable().describe("ISO 8601: when one begins by itself"),
});

/** What is told while it goes on. `done` has the report. */
export type ScrubEvent =
  | ({ readonly event: "progress" } & ScrubProgress)
  | ({ readonly event: "damage" } & DamageFact)
  /** Of the rebuild: from 0 to 1. */
  | { readonly event: "index"; readonly done: number };

export interface ScrubResult extends Omit<ScrubReport, "startedAt" | "endedAt"> {
  /** ISO 8601. */
  readonly startedAt: string;
  readonly endedAt: string;
  /** Where the index was rebuilt. */
  readonly index?: ReconcileReport;
}

export function scrubOperations(parts: ScrubOperationParts): readonly Operation[] {
  const state = jsonOperation<object>({
    method: "GET",
    path: "/api/v1/scrub",
    summary: "Whether a scrub runs, how far it has come, and when the last one ended",
    input: z.object({}),
    answers: "json",
    output: STATE,
    run: () => {
      const { lastEndedAt, nextAt } = parts.truth.moments;
      return {
        running: parts.scrub.progress ?? null,
        unfinished: parts.scrub.isUnfinished,
        lastEndedAt: timeText(lastEndedAt),
        nextAt: timeText(nextAt),
      };
    },
  });
  const begin = eventOperation<Input>({
    method: "POST",
    path: "/api/v1/scrub",
    summary: "Reads everything that is stored, takes out what is damaged, and makes index and files agree",
    input: INPUT,
    answers: "events",
    tells: {
      index: z.object({ done: z.number().describe("From 0 to 1") }),
      damage: DAMAGE,
      progress: PROGRESS,
      done: z.object({ result: REPORT }),
    },
    run: (input, call) => run(parts, input, call),
  });
  return [state, begin];
}

async function* run(parts: ScrubOperationParts, input: Input, call: ApiCall): AsyncGenerator<ApiEvent> {
  const { scrub, config } = parts;
  const joined = scrub.report;
  if (joined !== undefined && input.join === true) {
    yield* watch(parts, joined, call.signal, {});
    return;
  }
  if (joined !== undefined) throw new Failure("overloaded", refusal(scrub.progress));
  const left = new AbortController();
  const signal = AbortSignal.any([call.signal, left.signal]);
  let work: Promise<unknown> = Promise.resolve();
  try {
    let index: ReconcileReport | undefined;
    if (input.rebuild === true) {
      parts.store.acceptHome();
      let done = 0;
      const onProgress = (part: number) => {
        done = part;
      };
      const rebuilding = reconcile(parts, { signal, thorough: true, onProgress });
      work = rebuilding;
      rebuilding.catch(() => {});
      for await (const _ of ticks(parts.clock, rebuilding, signal)) yield { event: "index", done };
      index = await rebuilding;
    }
    const bandwidth = input.bandwidth === undefined ? config.cache.scrub.bandwidth : input.bandwidth;
    const only = input.references && digestsOf(parts, input.references);
    const report = scrub.run({ bandwidth, signal, restart: input.restart ?? false, only });
    work = report;
    report.catch(() => {});
    yield* watch(parts, report, signal, index === undefined ? {} : { index });
  } finally {
    left.abort(new Failure("overloaded", "whoever asked for the scrub has left"));
    await work.catch(() => {});
  }
}

/** @throws Failure `unknown` */
function digestsOf({ tags, truth }: ScrubOperationParts, images: readonly NamedImage[]): Digest[] {
  const digests = new Set<Digest>();
  for (const image of images) {
    const { place, reference } = image;
    const root = reference.type === "tag" ? tags.find(place, reference.tag)?.digest : reference.digest;
    const below = root === undefined ? [] : truth.digestsBelow(root);
    if (below.length === 0) throw new Failure("unknown", `${imageText(image)} is not stored`);
    for (const digest of below) digests.add(digest);
  }
  return [...digests].sort();
}

async function* watch(
  { scrub, clock, notices }: ScrubOperationParts,
  report: Promise<ScrubReport>,
  signal: AbortSignal,
  more: { readonly index?: ReconcileReport },
): AsyncGenerator<ApiEvent> {
  let untold: DamageFact[] = [];
  const end = notices.on("blobDamaged", (fact) => {
    if (fact.foundBy === "scrub" && untold.length < MAX_UNTOLD) untold.push(fact);
  });
  const told = (): ApiEvent[] => {
    const events = untold.map((fact) => ({ event: "damage", ...fact }));
    untold = [];
    return events;
  };
  try {
    for await (const _ of ticks(clock, report, signal)) {
      yield* told();
      const { progress } = scrub;
      if (progress !== undefined) yield { event: "progress", ...progress };
    }
    const { startedAt, endedAt, ...found } = await report;
    yield* told();
    const result: ScrubResult = { ...found, ...more, startedAt: isoText(startedAt), endedAt: isoText(endedAt) };
    yield { event: "done", result };
  } finally {
    end();
  }
}

/** Until the work is over, however it ends. @throws the signal's reason. */
async function* ticks(clock: Clock, work: Promise<unknown>, signal: AbortSignal): AsyncGenerator<void> {
  const over = work.then(
    () => true,
    () => true,
  );
  for (;;) {
    const waiting = new AbortController();
    const wait = pause(clock, TOLD_EVERY_MS, AbortSignal.any([signal, waiting.signal])).then(() => false);
    wait.catch(() => {});
    const isOver = await Promise.race([over, wait]);
    waiting.abort();
    if (isOver) return;
    yield;
  }
}

function refusal(progress: ScrubProgress | undefined): string {
  const state = progress === undefined ? "" : `, ${progress.blobs} of ${progress.totalBlobs} blobs are read`;
  return `a scrub is already running${state}; ask to join it to see how it goes`;
}

function timeText(ms: number | undefined): string | null {
  return ms === undefined ? null : isoText(ms);
}

function isoText(ms: number): string {
  return new Date(ms).toISOString();
}
