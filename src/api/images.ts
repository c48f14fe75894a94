/**
 * `GET /api/v1/images`: what is stored, as images, a page at a time. No page costs memory for more than itself.
 *
 * In the order of names a page looks at its own rows only. Any other order looks at all of them, in slices, and keeps the
 * best; the cursor says where the page before ended.
 */
import * as z from "zod";
import { Failure } from "../base/failure.ts";
import type { Holdings } from "../meta/holdings.ts";
import type { ImageRow, Images } from "../meta/images.ts";
import type { Inventory } from "../meta/inventory.ts";
import { type ApiCall, type JsonOperation, jsonOperation, type Operation } from "./operation.ts";
import { type ManifestReader, platformsOf } from "./platforms.ts";
import { queryFlag, queryNumber } from "./query.ts";
import { breathing, type Position, walkImages } from "./walk.ts";

export interface ImagesParts {
  readonly images: Images;
  readonly holdings: Pick<Holdings, "findUnit">;
  readonly inventory: Pick<Inventory, "blobs" | "bytes" | "findSize">;
  readonly read: ManifestReader;
  /** It is configured, or something of it is remembered. */
  readonly isKnown: (upstream: string) => boolean;
}

const SORTS = ["name", "size", "age", "used", "hits"] as const;
type Sort = (typeof SORTS)[number];
const MAX_TAGS = 100;

const PATTERN = z.string().min(1).max(300);
const INPUT = z.strictObject({
  upstream: PATTERN.optional().describe("Of this upstream only"),
  repository: PATTERN.optional().describe(
    "A name or a pattern: * is any text in one component, ** any components; without a slash it may be the last component of any name",
  ),
  tag: PATTERN.optional().describe("With a tag that matches this pattern"),
  sort: z
    .enum(SORTS)
    .default("name")
    .describe("Names go up; size, age (newest first), used (latest first), hits go down"),
  reverse: queryFlag("The other way round"),
  limit: queryNumber("How many in a page", 100, { most: 1000 }),
  cursor: z.string().max(2000).optional().describe("`next` of the page before, with the same filter and order"),
});

const TIME = z.string().describe("ISO 8601");
export const IMAGE = z.object({
  upstream: z.string(),
  repository: z.string(),
  tags: z.array(z.string()).describe(`At most ${MAX_TAGS}; none where it was only pulled by digest`),
  digest: z.string(),
  mediaType: z.string(),
  platforms: z.array(z.string()).describe("Of which the manifest is stored"),
  sizeBytes: z.int().describe("What is stored of it, with all that belongs to it"),
  uniqueBytes: z.int().describe("What would leave with it"),
  sharedBytes: z.int().describe("What others need too"),
  storedAt: TIME,
  checkedAt: TIME.nullable().describe("When the upstream last confirmed its first tag"),
  lastUsedAt: TIME,
  hits: z.int(),
  pinned: z.boolean(),
});
export const IMAGES = z.object({
  images: z.array(IMAGE),
  next: z.string().nullable().describe("Cursor of the next page; null: this is the last one"),
  total: z.object({ blobs: z.int(), sizeBytes: z.int() }).describe("Of everything that is stored"),
});
export type ImageAnswer = z.output<typeof IMAGE>;
export type ImagesAnswer = z.output<typeof IMAGES>;

export function imagesOperation(parts: ImagesParts): Operation {
  const operation: JsonOperation<z.output<typeof INPUT>> = {
    method: "GET",
    path: "/api/v1/images",
    summary: "What is stored, as images",
    input: INPUT,
    answers: "json",
    output: IMAGES,
    async run({ sort, reverse, limit, cursor, ...filter }, call): Promise<ImagesAnswer> {
      requireKnown(parts, filter.upstream);
      const from = cursor === undefined ? undefined : readCursor(cursor);
      const inOrder = sort === "name" && !reverse;
      const page = inOrder
        ? await nextByName(parts, filter, limit, from, call)
        : await bestOf(parts, filter, { sort, reverse, limit, from }, call);
      const shown = page.slice(0, limit);
      const last = shown.at(-1);
      const answers: ImageAnswer[] = [];
      const breath = breathing(call.signal);
      for (const { row } of shown) {
        answers.push(await describeImage(parts, row));
        await breath();
      }
      const { blobs, bytes } = parts.inventory;
      const next = page.length > limit && last !== undefined ? cursorText(last) : null;
      return { images: answers, next, total: { blobs, sizeBytes: bytes } };
    },
  };
  return jsonOperation(operation);
}

/** A name that is nobody's was misspelt. @throws Failure `unknown` */
export function requireKnown({ isKnown }: Pick<ImagesParts, "isKnown">, upstream: string | undefined): void {
  if (upstream === undefined || isKnown(upstream)) return;
  throw new Failure("unknown", `no upstream "${upstream}" is configured, and nothing of it is stored`);
}

/** What is told of an image. */
export async function describeImage(
  { images, holdings, inventory, read }: ImagesParts,
  row: ImageRow,
): Promise<ImageAnswer> {
  const { place, digest, mediaType, repositoryId, storedAt, lastUsedAt, hits, isRoot, isHeld } = row;
  const tags = images.tagsOf(repositoryId, digest, MAX_TAGS);
  const sizeBytes = images.sizeOf(digest).bytes;
  const unit = isRoot ? holdings.findUnit(digest) : [];
  const uniqueBytes = Math.min(
    sizeBytes,
    unit.reduce((sum, one) => sum + one.sizeBytes, 0),
  );
  const [first] = tags;
  return {
    ...place,
    tags: tags.map(({ tag }) => tag),
    ...{ digest, mediaType, sizeBytes, uniqueBytes, hits },
    platforms: await platformsOf(
      { read, isStored: (child) => inventory.findSize(child) !== undefined },
      digest,
      mediaType,
    ),
    sharedBytes: sizeBytes - uniqueBytes,
    storedAt: timeText(storedAt),
    checkedAt: first === undefined ? null : timeText(first.checkedAt),
    lastUsedAt: timeText(lastUsedAt),
    pinned: isHeld,
  };
}

export function timeText(epochMs: number): string {
  return new Date(Math.max(0, epochMs)).toISOString();
}

/** An image with its place in the order: by value, then by name. */
interface Ranked {
  readonly row: ImageRow;
  readonly key: readonly [value: number, upstream: string, repository: string, mark: string];
}

async function nextByName(
  { images }: ImagesParts,
  filter: Parameters<typeof walkImages>[1],
  limit: number,
  from: Ranked["key"] | undefined,
  { signal }: ApiCall,
): Promise<Ranked[]> {
  const page: Ranked[] = [];
  for await (const row of walkImages(images, filter, signal, from === undefined ? undefined : positionOf(from))) {
    page.push({ row, key: keyOf(row, 0) });
    if (page.length > limit) break;
  }
  return page;
}

interface Order {
  readonly sort: Sort;
  readonly reverse: boolean;
  readonly limit: number;
  readonly from: Ranked["key"] | undefined;
}

async function bestOf(
  { images }: ImagesParts,
  filter: Parameters<typeof walkImages>[1],
  { sort, reverse, limit, from }: Order,
  { signal }: ApiCall,
): Promise<Ranked[]> {
  const best: Ranked[] = [];
  const breath = breathing(signal);
  const compare = (one: Ranked["key"], other: Ranked["key"]) => (reverse ? -1 : 1) * compareKeys(one, other);
  for await (const row of walkImages(images, filter, signal)) {
    await breath();
    const key = keyOf(row, rankOf(images, row, sort));
    if (from !== undefined && compare(key, from) <= 0) continue;
    const worst = best.length > limit ? best.at(-1) : undefined;
    if (worst !== undefined && compare(key, worst.key) >= 0) continue;
    best.splice(placeIn(best, key, compare), 0, { row, key });
    if (best.length > limit + 1) best.pop();
  }
  return best;
}

/** What is shown first has the smallest. */
function rankOf(images: Images, row: ImageRow, sort: Sort): number {
  switch (sort) {
    case "name":
      return 0;
    case "size":
      return -images.sizeOf(row.digest).bytes;
    case "age":
      return -row.storedAt;
    case "used":
      return -row.lastUsedAt;
    case "hits":
      return -row.hits;
  }
}

/** Tagged before untagged: no tag begins like a digest does here. */
function keyOf({ place, tag, digest }: ImageRow, value: number): Ranked["key"] {
  return [value, place.upstream, place.repository, tag === undefined ? `~${digest}` : tag];
}

function positionOf([, upstream, repository, mark]: Ranked["key"]): Position {
  const place = { upstream, repository: repository as Position["place"]["repository"] };
  return mark.startsWith("~") ? { place, digest: mark.slice(1) } : { place, tag: mark };
}

function compareKeys(one: Ranked["key"], other: Ranked["key"]): number {
  for (const [at, value] of one.entries()) {
    const against = other[at] ?? 0;
    if (value < against) return -1;
    if (value > against) return 1;
  }
  return 0;
}

function placeIn(sorted: readonly Ranked[], key: Ranked["key"], compare: typeof compareKeys): number {
  let [low, high] = [0, sorted.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    const found = sorted[middle];
    if (found !== undefined && compare(found.key, key) < 0) low = middle + 1;
    else high = middle;
  }
  return low;
}

const KEY = z.tuple([z.number(), z.string().max(300), z.string().max(300), z.string().max(300)]);

function cursorText({ key }: Ranked): string {
  return Buffer.from(JSON.stringify(key)).toString("base64url");
}

function readCursor(text: string): Ranked["key"] {
  try {
    return KEY.parse(JSON.parse(Buffer.from(text, "base64url").toString("utf8")));
  } catch {
    throw new Failure("invalid", "cursor: expected `next` of the page before");
  }
}
