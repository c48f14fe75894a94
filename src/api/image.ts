/**
 * `GET /api/v1/image?reference=`: one image from near: its platforms and layers, which of them are stored, who else needs
 * them, what refers to it, how fresh its tag is, and what pins it. Only what is stored is looked at.
 */
import * as z from "zod";
import { Failure } from "../base/failure.ts";
import {
  type BlobNode,
  companionTags,
  type ManifestNode,
  manifestsIn,
  readTree,
  type TreeParts,
} from "../bundle/tree.ts";
import type { Pins } from "../meta/pins.ts";
import type { Place } from "../meta/repositories.ts";
import type { TagEntry, Tags } from "../meta/tags.ts";
import { type FreshnessPolicy, judgeFreshness, mayServeStale } from "../mirror/freshness.ts";
import { findReferrers } from "../mirror/referrers.ts";
import type { Digest } from "../oci/digest.ts";
import { describeImage, IMAGE, type ImagesParts, timeText } from "./images.ts";
import { type JsonOperation, jsonOperation, type Operation } from "./operation.ts";
import { answerOf, PIN } from "./pins.ts";
import { imageReference, imageText, type NamedImage } from "./reference.ts";
import { breathing } from "./walk.ts";

export interface ImageParts extends ImagesParts, TreeParts {
  readonly tags: Pick<Tags, "find">;
  readonly pins: Pick<Pins, "holding">;
  /** Undefined for what is not configured any more. */
  readonly freshnessOf: (upstream: string) => FreshnessPolicy | undefined;
  readonly config: { readonly offline: boolean };
  readonly now: () => number;
  readonly inventory: ImagesParts["inventory"] & TreeParts["inventory"];
}

const MAX_LAYERS = 2000;
const MAX_USERS = 10;
const MAX_PINS = 50;

const SIZE = z.int().describe("-1: nobody said");
const FRESHNESS = z.object({
  state: z
    .enum(["fresh", "refreshing", "stale", "expired", "offline"])
    .describe(
      "fresh: served without asking; refreshing: served and refreshed behind; stale: the upstream is asked first, this is served should it fail; expired: it is not served any more without the upstream; offline: served however old it is, as nobody is asked",
    ),
  checkedAt: z.string(),
  ttlSeconds: z.int().describe("Until the upstream is asked again; negative: since when it could be"),
});
const PLATFORM = z.object({
  platform: z.string().nullable(),
  digest: z.string(),
  mediaType: z.string(),
  cached: z.enum(["whole", "partly", "no"]),
  sizeBytes: SIZE.describe("Of its manifest and layers, as far as known"),
  missingBytes: z.int().describe("Of those that are not stored"),
});
const LAYER = z.object({
  digest: z.string(),
  mediaType: z.string(),
  sizeBytes: SIZE,
  cached: z.boolean(),
  platforms: z.array(z.string()),
  users: z.array(z.string()).describe(`Other images that need it, at most ${MAX_USERS}`),
});
const REFERRER = z.object({
  digest: z.string(),
  mediaType: z.string(),
  artifactType: z.string().nullable(),
  sizeBytes: z.int(),
});
export const INSPECTED = z.object({
  reference: z.string(),
  image: IMAGE,
  freshness: FRESHNESS.nullable().describe("Of the tag; null for a digest, and where the upstream is not configured"),
  pins: z.array(PIN),
  platforms: z.array(PLATFORM),
  layers: z.array(LAYER).describe("Configurations and layers of all platforms, each once"),
  referrers: z.array(REFERRER).describe("Signatures, attestations and the like, as far as stored"),
  companions: z.array(z.string()).describe("Tags of this repository that cosign keeps signatures under"),
});
export type Inspected = z.output<typeof INSPECTED>;

export function imageOperation(parts: ImageParts): Operation {
  const input = z.strictObject({ reference: imageReference });
  const operation: JsonOperation<z.output<typeof input>> = {
    method: "GET",
    path: "/api/v1/image",
    summary: "One image: platforms, layers, who else needs them, signatures, freshness, pins",
    input,
    answers: "json",
    output: INSPECTED,
    run: ({ reference }, { signal }) => inspect(parts, reference, signal),
  };
  return jsonOperation(operation);
}

async function inspect(parts: ImageParts, named: NamedImage, signal: AbortSignal): Promise<Inspected> {
  const { images, pins } = parts;
  const { place, reference } = named;
  const entry = reference.type === "tag" ? parts.tags.find(place, reference.tag) : undefined;
  const digest = reference.type === "tag" ? entry?.digest : reference.digest;
  const repository = images.findRepository(place);
  const row = digest === undefined || repository === undefined ? undefined : images.find(repository, digest);
  if (row === undefined) throw notCached(named);
  const root = await readTree(parts, place, row.digest);
  if (!root.stored) throw notCached(named);
  return {
    reference: imageText(named),
    image: await describeImage(parts, row),
    freshness: freshnessOf(parts, place, entry),
    pins: pins.holding(row.digest, MAX_PINS).map((pin) => answerOf(pin, parts)),
    platforms: platformsOf(root),
    layers: await layersOf(parts, root, place, signal),
    referrers: (await findReferrers(parts, place, row.digest)).map(
      ({ digest: of, mediaType, artifactType, sizeBytes }) => ({
        ...{ digest: of, mediaType, sizeBytes },
        artifactType: artifactType ?? null,
      }),
    ),
    companions: companionTags(row.digest).filter((tag) => parts.tags.find(place, tag) !== undefined),
  };
}

export function notCached(named: NamedImage): Failure {
  return new Failure("unknown", `${imageText(named)} is not cached`);
}

function freshnessOf(parts: ImageParts, { upstream }: Place, entry: TagEntry | undefined): Inspected["freshness"] {
  const policy = parts.freshnessOf(upstream);
  if (entry === undefined || policy === undefined) return null;
  const now = parts.now();
  const { checkedAt } = entry;
  const states = { use: "fresh", useAndRefresh: "refreshing", revalidate: "stale" } as const;
  const servable = mayServeStale(checkedAt, policy, now);
  const verdict = judgeFreshness(checkedAt, policy, now);
  const online = servable ? states[verdict] : "expired";
  return {
    state: parts.config.offline && verdict !== "use" ? "offline" : online,
    checkedAt: timeText(checkedAt),
    ttlSeconds: Math.round((checkedAt + policy.tags - now) / 1000),
  };
}

/** What an index names, or the image itself. */
function platformsOf(root: ManifestNode): Inspected["platforms"] {
  const nodes = root.manifests.length === 0 ? [root] : root.manifests;
  return nodes.map((node) => {
    const all: BlobNode[] = manifestsIn({ ...node, referrers: [] }).flatMap((one) => [one, ...one.blobs]);
    const missing = all.filter(({ stored }) => !stored);
    const cached = !node.stored ? "no" : missing.length === 0 ? "whole" : "partly";
    return {
      platform: node.platform ?? null,
      digest: node.digest,
      mediaType: node.mediaType,
      cached,
      sizeBytes: sum(all),
      missingBytes: sum(missing),
    };
  });
}

function sum(nodes: readonly BlobNode[]): number {
  return nodes.reduce((bytes, { sizeBytes }) => bytes + Math.max(0, sizeBytes), 0);
}

async function layersOf(
  { images }: ImageParts,
  root: ManifestNode,
  place: Place,
  signal: AbortSignal,
): Promise<Inspected["layers"]> {
  const breath = breathing(signal);
  const layers = new Map<Digest, { readonly blob: BlobNode; readonly platforms: Set<string> }>();
  for (const node of manifestsIn({ ...root, referrers: [] })) {
    for (const blob of node.blobs) {
      const known = layers.get(blob.digest) ?? { blob, platforms: new Set<string>() };
      if (node.platform !== undefined) known.platforms.add(node.platform);
      if (layers.size < MAX_LAYERS) layers.set(blob.digest, known);
    }
  }
  const told: Inspected["layers"] = [];
  for (const { blob, platforms } of layers.values()) {
    await breath();
    // Tags of this very image in this repository are no others.
    const users = images
      .usersOf(blob.digest, MAX_USERS * 3)
      .filter((user) => user.digest !== root.digest || !isSame(user.place, place))
      .map((user) => `${user.place.upstream}/${user.place.repository}:${user.tag}`);
    told.push({
      digest: blob.digest,
      mediaType: blob.mediaType,
      sizeBytes: blob.sizeBytes,
      cached: blob.stored,
      platforms: [...platforms],
      users: [...new Set(users)].slice(0, MAX_USERS),
    });
  }
  return told;
}

function isSame(one: Place, other: Place): boolean {
  return one.upstream === other.upstream && one.repository === other.repository;
}
