/**
 * `POST /api/v1/purge`: images that somebody wants gone, with what nobody else needs of them. Pinned ones stay unless that
 * is said too. Tells of each as it goes; ends where it is when whoever asked leaves.
 */
import * as z from "zod";
import type { Clock } from "../base/clock.ts";
import { Failure } from "../base/failure.ts";
import { companionTags } from "../bundle/tree.ts";
import type { ImageRow } from "../meta/images.ts";
import type { Pin, Pins } from "../meta/pins.ts";
import type { Tags } from "../meta/tags.ts";
import type { Tag } from "../oci/reference.ts";
import { notCached } from "./image.ts";
import { requireKnown } from "./images.ts";
import type { Narrowing } from "./narrowing.ts";
import { type ApiEvent, type EventOperation, eventOperation, type Operation } from "./operation.ts";
import { imageReference, imageText, type NamedImage } from "./reference.ts";
import { type Freed, Removal, type RemovalParts, type RemovalPlan } from "./removal.ts";
import { breathing, walkImages } from "./walk.ts";

export interface PurgeParts extends RemovalParts {
  readonly isKnown: (upstream: string) => boolean;
  readonly pins: Pick<Pins, "holding" | "drop">;
  readonly narrowing: Pick<Narrowing, "refresh">;
  readonly tags: Pick<Tags, "drop" | "find">;
  readonly clock: Clock;
}

const MAX_PINS = 1000;
const ROWS = 200;

const PATTERN = z.string().min(1).max(300);
const INPUT = z
  .strictObject({
    reference: imageReference.optional(),
    upstream: PATTERN.optional().describe("All of this upstream, or what else is said of it"),
    repository: PATTERN.optional().describe("A name or a pattern, as of GET /api/v1/images"),
    olderThanMs: z.int().min(0).optional().describe("Not used for so long"),
    dryRun: z.boolean().default(false).describe("Only tells"),
    force: z.boolean().default(false).describe("Pinned ones too, and their pins with them"),
  })
  .refine(
    ({ reference, upstream, repository, olderThanMs }) =>
      [reference, upstream, repository, olderThanMs].some((one) => one !== undefined),
    {
      message: "say which: reference, upstream, repository or olderThanMs",
    },
  )
  .refine(({ reference, upstream, repository }) => reference === undefined || (upstream ?? repository) === undefined, {
    message: "a reference says upstream and repository itself",
  });
type Input = z.output<typeof INPUT>;

export const PURGED = z.object({
  references: z.array(z.string()).describe("Tags that went, or the digest"),
  digest: z.string(),
  blobs: z.int(),
  freedBytes: z.int().describe("Of a dry run: at least, as what only purged images share is not counted"),
});
export const KEPT = z.object({ references: z.array(z.string()), digest: z.string(), reason: z.string() });
const RESULT = z.object({ images: z.int(), kept: z.int(), blobs: z.int(), freedBytes: z.int(), dryRun: z.boolean() });
export type Purged = z.output<typeof PURGED>;
export type Kept = z.output<typeof KEPT>;
export type PurgeResult = z.output<typeof RESULT>;

export function purgeOperation(parts: PurgeParts): Operation {
  const operation: EventOperation<Input> = {
    method: "POST",
    path: "/api/v1/purge",
    summary: "Removes images, and what nobody else needs of them",
    input: INPUT,
    answers: "events",
    tells: { removed: PURGED, wouldRemove: PURGED, kept: KEPT, done: z.object({ result: RESULT }) },
    run: (input, { signal }) => purge(parts, input, signal),
  };
  return eventOperation(operation);
}

async function* purge(parts: PurgeParts, input: Input, signal: AbortSignal): AsyncGenerator<ApiEvent> {
  requireKnown(parts, input.upstream);
  const removal = new Removal(parts);
  const breath = breathing(signal);
  const unusedSince = input.olderThanMs === undefined ? undefined : parts.clock.now() - input.olderThanMs;
  const result = { images: 0, kept: 0, blobs: 0, freedBytes: 0, dryRun: input.dryRun };
  try {
    for await (const { row, only } of targets(parts, input, signal)) {
      if (unusedSince !== undefined && row.lastUsedAt > unusedSince) continue;
      const plan = removal.plan(row, only);
      const pins = pinsIn(parts, row, plan);
      if (pins.length > 0 && !input.force) {
        if (input.reference !== undefined) throw pinnedFailure(input.reference);
        result.kept += 1;
        yield { event: "kept", references: referencesOf(row, plan), digest: row.digest, reason: "pinned" };
        continue;
      }
      let done: Freed = { blobs: plan.digests.length, bytes: plan.bytes };
      if (!input.dryRun) {
        for (const { place, reference } of pins) parts.pins.drop(place, reference);
        // Without its pins more of it may go.
        const last = pins.length === 0 ? plan : removal.plan(row, only);
        done = await removal.carryOut(row, last, breath);
      }
      result.images += 1;
      result.blobs += done.blobs;
      result.freedBytes += done.bytes;
      const purged: Purged = {
        references: referencesOf(row, plan),
        digest: row.digest,
        blobs: done.blobs,
        freedBytes: done.bytes,
      };
      yield { event: input.dryRun ? "wouldRemove" : "removed", ...purged };
    }
    if (input.reference === undefined && input.repository === undefined) {
      const { blobs, bytes } = await purgeLoose(parts, removal, { ...input, unusedSince }, breath);
      result.blobs += blobs;
      result.freedBytes += bytes;
    }
  } finally {
    await parts.narrowing.refresh();
  }
  yield { event: "done", result };
}

interface Target {
  readonly row: ImageRow;
  /** Of its tags, this one. */
  readonly only: Tag | undefined;
}

async function* targets(parts: PurgeParts, input: Input, signal: AbortSignal): AsyncGenerator<Target> {
  const { images, tags } = parts;
  const { reference: named } = input;
  if (named === undefined) {
    for await (const row of walkImages(images, input, signal)) yield { row, only: undefined };
    return;
  }
  const { place, reference } = named;
  const only = reference.type === "tag" ? reference.tag : undefined;
  const digest = reference.type === "tag" ? tags.find(place, reference.tag)?.digest : reference.digest;
  const repository = images.findRepository(place);
  const row = digest === undefined || repository === undefined ? undefined : images.find(repository, digest);
  const isHere =
    row !== undefined &&
    (only !== undefined || row.tag !== undefined || images.isReadable(row.repositoryId, row.digest));
  if (row === undefined || repository === undefined || !isHere) throw notCached(named);
  // Signatures that are kept under tags mean nothing without it.
  const companions =
    images.tagsOf(row.repositoryId, row.digest, 2).length > 1 && only !== undefined ? [] : companionTags(row.digest);
  yield { row, only };
  for (const tag of companions) {
    const entry = tags.find(place, tag);
    const companion = entry === undefined ? undefined : images.find(repository, entry.digest);
    if (companion !== undefined) yield { row: companion, only: tag };
  }
}

/** Pins of this repository that would be left holding nothing. */
function pinsIn({ pins }: PurgeParts, { place, digest }: ImageRow, plan: RemovalPlan): Pin[] {
  const gone = new Set<string>(plan.staysNamed ? plan.tags : [...plan.tags, digest]);
  return pins
    .holding(digest, MAX_PINS)
    .filter((pin) => pin.place.upstream === place.upstream && pin.place.repository === place.repository)
    .filter(({ reference }) => gone.has(reference));
}

function pinnedFailure(named: NamedImage): Failure {
  return new Failure("denied", `${imageText(named)} is pinned: unpin it first, or say --force (force: true)`);
}

const MAX_TOLD = 100;

function referencesOf({ place, digest }: ImageRow, { tags }: RemovalPlan): string[] {
  const name = `${place.upstream}/${place.repository}`;
  return tags.length === 0 ? [`${name}@${digest}`] : tags.slice(0, MAX_TOLD).map((tag) => `${name}:${tag}`);
}

/** What no image is left of: layers that were fetched alone, or whose image left before they came. */
async function purgeLoose(
  { leaving }: PurgeParts,
  removal: Removal,
  { upstream, unusedSince, dryRun }: Pick<Input, "upstream" | "dryRun"> & { readonly unusedSince: number | undefined },
  breath: () => Promise<void>,
): Promise<{ blobs: number; bytes: number }> {
  const sum = { blobs: 0, bytes: 0 };
  let after: string | undefined = "";
  while (after !== undefined) {
    const { blobs, last } = leaving.looseAfter(after, ROWS);
    const wanted = blobs.filter(
      (blob) =>
        (upstream === undefined || blob.upstream === upstream) &&
        (unusedSince === undefined || blob.lastUsedAt <= unusedSince) &&
        !removal.isBusy(blob.digest),
    );
    const planned = { blobs: wanted.length, bytes: wanted.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0) };
    const digests = wanted.map(({ digest }) => digest);
    const gone = dryRun ? planned : await removal.discard(digests, breath);
    sum.blobs += gone.blobs;
    sum.bytes += gone.bytes;
    after = last;
    await breath();
  }
  return sum;
}
