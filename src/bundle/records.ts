/**
 * Writes down what an import has brought, when all of it is there: manifests with what they name, permissions, tags, in
 * this order.
 *
 * Permission is given for bytes that the import has shown to have, or that a signature vouches for. Whatever else it names
 * may be read only where it may be read anyway: naming a digest is no permission.
 */
import type { Clock } from "../base/clock.ts";
import { Failure } from "../base/failure.ts";
import type { Graph, Reachable } from "../meta/graph.ts";
import type { Inventory } from "../meta/inventory.ts";
import type { Place } from "../meta/repositories.ts";
import type { Tags } from "../meta/tags.ts";
import { mayRead } from "../mirror/permission.ts";
import { algorithmOf, type Digest, digestOf } from "../oci/digest.ts";
import { type ManifestContent, parseManifest } from "../oci/manifest.ts";
import type { BlobStore } from "../store/blobstore.ts";
import { MAX_MANIFEST_BYTES } from "../upstream/upstream.ts";
import { digestName, type ImageName, nameText } from "./names.ts";
import { filterInTurns, Turns } from "./turns.ts";

export interface RecordParts {
  readonly store: Pick<BlobStore, "read">;
  readonly inventory: Pick<Inventory, "findSize" | "findUpstream" | "findMediaType" | "addBlob" | "addManifest">;
  readonly graph: Pick<Graph, "link" | "findReachable">;
  readonly tags: Pick<Tags, "find" | "put">;
  readonly clock: Clock;
}

export interface StoredDocument {
  readonly digest: Digest;
  readonly sizeBytes: number;
  readonly content: ManifestContent;
}

/** What an import brings for one place. */
export interface Arrival {
  readonly place: Place;
  /** What is named before what names it. */
  readonly documents: readonly StoredDocument[];
  /** Everything that may be read there, the documents included. */
  readonly pieces: readonly { readonly digest: Digest; readonly sizeBytes: number; readonly from: string }[];
}

/** Reads a stored document and looks at its bytes again. @throws Failure `corrupt` */
export async function readDocument(
  { store }: Pick<RecordParts, "store">,
  digest: Digest,
  mediaType: string | undefined,
): Promise<StoredDocument> {
  const bytes = await store.read(digest, MAX_MANIFEST_BYTES).catch((cause: unknown) => {
    throw new Failure("corrupt", `${digest} is no manifest, or cannot be read`, { cause });
  });
  if (bytes === undefined || digestOf(bytes, algorithmOf(digest)) !== digest) {
    throw new Failure("corrupt", `manifest ${digest} is not stored, or is damaged`);
  }
  try {
    return { digest, sizeBytes: bytes.length, content: parseManifest(bytes, mediaType || undefined) };
  } catch (cause) {
    throw new Failure("corrupt", `${digest} is no manifest`, { cause });
  }
}

/**
 * @param isVouchedFor whether the import has shown that it has these bytes.
 * @throws Failure `denied` where something is stored that the place may not read, and nobody vouches for.
 */
export async function record(
  parts: RecordParts,
  arrivals: readonly Arrival[],
  isVouchedFor: (digest: Digest) => boolean,
): Promise<void> {
  for (const arrival of arrivals) {
    const lent = await filterInTurns(
      arrival.pieces,
      ({ digest }) => !isVouchedFor(digest) && !isReadable(parts, arrival, digest),
    );
    if (lent.length > 0) throw notVouchedFor(arrival.place, lent[0]?.digest, lent.length);
  }
  const { inventory, graph, clock } = parts;
  const turns = new Turns();
  for (const { place, documents, pieces } of arrivals) {
    for (let at = 0; at < pieces.length; at += TURN) {
      const some = pieces.slice(at, at + TURN);
      for (const { digest, sizeBytes, from } of some) {
        if (inventory.findUpstream(digest) !== undefined) continue;
        inventory.addBlob(digest, sizeBytes, from === "" ? place.upstream : from, clock.now());
      }
      graph.link(
        place,
        some.map(({ digest, sizeBytes }): Reachable => ({ digest, sizeBytes, confirmed: isVouchedFor(digest) })),
      );
      await turns.pass();
    }
    for (const { digest, content } of documents) {
      const children = [...content.manifests, ...content.blobs].map((child) => child.digest);
      const mediaType = inventory.findMediaType(digest) ?? content.mediaType;
      inventory.addManifest(digest, mediaType, { children, subject: content.subject?.digest });
      await turns.pass();
    }
  }
}

/** Rows of one transaction. */
const TURN = 100;

/**
 * Has a tag name a digest, unless the upstream has said something else later.
 * @param checkedAt when the upstream said so; a time that is still to come counts as now.
 */
export function recordName(
  { tags, clock }: RecordParts,
  { place, reference }: ImageName,
  digest: Digest,
  checkedAt: number | undefined,
): "named" | "newer here" {
  if (reference.type === "digest") return "named";
  const now = clock.now();
  const at = Math.min(checkedAt ?? now, now);
  const known = tags.find(place, reference.tag);
  if (known !== undefined && known.digest !== digest && known.checkedAt > at && known.checkedAt <= now)
    return "newer here";
  tags.put(place, reference.tag, digest, Math.max(at, known?.digest === digest ? Math.min(known.checkedAt, now) : at));
  return "named";
}

/** Once the place names it, and the bytes came from the same upstream. */
function isReadable({ graph, inventory }: RecordParts, { place }: Arrival, digest: Digest): boolean {
  const from = inventory.findUpstream(digest);
  return from === place.upstream || mayRead(graph.findReachable(place, digest), from, place.upstream);
}

function notVouchedFor(place: Place, first: Digest | undefined, count: number): Failure {
  const what = first === undefined ? "" : ` (${nameText(digestName(place, first))})`;
  return new Failure(
    "denied",
    `${count} pieces${what} are stored here for other registries, and the archive does not carry them: naming them ` +
      "gives no permission. Export them with the rest, or sign the bundle and import it with --verify-key",
  );
}
