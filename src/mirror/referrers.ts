/**
 * Who refers to a manifest, as far as it is stored and may be read in a place: what the referrers API would list
 * (distribution specification, "Listing Referrers"), made of the stored documents themselves.
 */
import type { Graph } from "../meta/graph.ts";
import type { Inventory } from "../meta/inventory.ts";
import type { Relations } from "../meta/relations.ts";
import type { Place } from "../meta/repositories.ts";
import type { Digest } from "../oci/digest.ts";
import { parseManifest } from "../oci/manifest.ts";
import { mayRead } from "./permission.ts";
import type { Shelf, ShelvedManifest } from "./shelf.ts";

export interface Referrer {
  readonly digest: Digest;
  readonly mediaType: string;
  readonly sizeBytes: number;
  readonly artifactType: string | undefined;
  readonly annotations: Readonly<Record<string, unknown>> | undefined;
}

export interface ReferrerParts {
  readonly relations: Pick<Relations, "childrenOf">;
  readonly shelf: Pick<Shelf, "find">;
  readonly graph: Pick<Graph, "findReachable">;
  readonly inventory: Pick<Inventory, "findUpstream" | "findMediaType">;
}

/** More are not listed: a page of a registry is shorter. */
const MAX_REFERRERS = 1000;
/** An index names so many, and they stand among those who refer to it. */
const MAX_CHILDREN = 10_000;

/** In the order of their digests. */
export async function findReferrers(parts: ReferrerParts, place: Place, subject: Digest): Promise<Referrer[]> {
  const { relations, graph, inventory, shelf } = parts;
  const found: Referrer[] = [];
  for (const digest of relations.childrenOf(subject, MAX_CHILDREN)) {
    if (found.length === MAX_REFERRERS) break;
    if (inventory.findMediaType(digest) === undefined) continue;
    if (!mayRead(graph.findReachable(place, digest), inventory.findUpstream(digest), place.upstream)) continue;
    const manifest = await shelf.find(digest);
    if (manifest !== undefined && isAbout(manifest, subject)) found.push(describe(manifest));
  }
  return found;
}

/** As the referrers API writes it. */
export function referrerEntry({ digest, mediaType, sizeBytes, artifactType, annotations }: Referrer): object {
  return {
    mediaType,
    digest,
    size: sizeBytes,
    ...(artifactType === undefined ? {} : { artifactType }),
    ...(annotations === undefined ? {} : { annotations }),
  };
}

function isAbout({ bytes, mediaType }: ShelvedManifest, subject: Digest): boolean {
  return parseManifest(bytes, mediaType).subject?.digest === subject;
}

/** What a document does not call itself, its configuration's type does; an index has none. */
function describe({ digest, mediaType, bytes }: ShelvedManifest): Referrer {
  const document: unknown = JSON.parse(bytes.toString("utf8"));
  const own = textIn(document, "artifactType");
  const artifactType = own ?? textIn(memberOf(document, "config"), "mediaType");
  const annotations = memberOf(document, "annotations");
  const isMap = typeof annotations === "object" && annotations !== null && !Array.isArray(annotations);
  return {
    digest,
    mediaType,
    sizeBytes: bytes.length,
    artifactType,
    annotations: isMap ? { ...annotations } : undefined,
  };
}

function textIn(value: unknown, name: string): string | undefined {
  const text = memberOf(value, name);
  return typeof text === "string" && text !== "" ? text : undefined;
}

function memberOf(value: unknown, name: string): unknown {
  return typeof value === "object" && value !== null ? Reflect.get(value, name) : undefined;
}
