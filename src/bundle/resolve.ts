/**
 * What an archive's documents say it has, held against what is stored by now: which images, under which names, whole or
 * not. Nothing is written here.
 */
import { Failure } from "../base/failure.ts";
import { type Place, placeKey } from "../meta/repositories.ts";
import { mayRead } from "../mirror/permission.ts";
import type { Digest } from "../oci/digest.ts";
import { parseTag } from "../oci/reference.ts";
import type { Contents, Piece } from "./contents.ts";
import type { LayoutEntry } from "./layout.ts";
import { excerpt, findFullName, type ImageName, nameText } from "./names.ts";
import { type Arrival, type RecordParts, readDocument, type StoredDocument } from "./records.ts";
import { filterInTurns, Turns } from "./turns.ts";

export interface NamedDigest {
  readonly name: ImageName;
  readonly digest: Digest;
  readonly checkedAt: number | undefined;
}

export interface Resolved {
  readonly arrivals: readonly Arrival[];
  readonly names: readonly NamedDigest[];
  readonly notes: readonly string[];
}

export interface ResolveParts extends Pick<RecordParts, "store" | "inventory" | "graph"> {
  /** Whether it is stored. */
  has(digest: Digest, sizeBytes?: number): boolean;
  /** What the archive has shown that it has. */
  readonly shown: ReadonlySet<Digest>;
}

/** @throws Failure `corrupt` where a bundle is not what it says; `unknown` where the other bundle is not here. */
export async function resolveContents(parts: ResolveParts, contents: Contents): Promise<Resolved> {
  const missing = await filterInTurns(contents.pieces, ({ digest, sizeBytes }) => !parts.has(digest, sizeBytes));
  const lost = missing.filter(({ carried }) => carried);
  if (lost.length > 0) throw new Failure("corrupt", `the bundle lacks ${some(lost)} that it says it carries`);
  if (missing.length > 0) {
    const before = contents.since === undefined ? "" : `, the one with the contents ${contents.since}`;
    throw new Failure(
      "unknown",
      `the bundle holds what changed only, and ${some(missing)} of before are not stored here: import the bundle that it was made after${before}`,
    );
  }
  const listed = new Set([...contents.unwanted, ...contents.pieces.map(({ digest }) => digest)]);
  const documents = new Map<Digest, StoredDocument>();
  const turns = new Turns();
  for (const { digest, mediaType } of contents.pieces) {
    if (mediaType === undefined) continue;
    await turns.pass();
    const document = await readDocument(parts, digest, mediaType);
    const stray = namedBy(document).find((named) => !listed.has(named));
    if (stray !== undefined)
      throw new Failure("corrupt", `manifest ${digest} names ${stray}, which the bundle does not list`);
    documents.set(digest, document);
  }
  const unknown = contents.references.find(({ digest }) => !documents.has(digest));
  if (unknown !== undefined)
    throw new Failure("corrupt", `${nameText(unknown)} is ${unknown.digest}, which the bundle does not list`);
  const byPlace = new Map<string, { place: Place; pieces: Piece[] }>();
  for (const piece of contents.pieces) {
    for (const place of piece.places) {
      const at = byPlace.get(placeKey(place)) ?? { place, pieces: [] };
      at.pieces.push(piece);
      byPlace.set(placeKey(place), at);
    }
  }
  const arrivals = [...byPlace.values()].map(({ place, pieces }) => ({
    place,
    pieces,
    documents: inOrder(pieces.flatMap(({ digest }) => documents.get(digest) ?? [])),
  }));
  const names = contents.references.map(({ place, reference, digest, checkedAt }) => ({
    name: { place, reference },
    digest,
    checkedAt,
  }));
  return { arrivals, names, notes: [] };
}

/**
 * @param as the repository of entries whose name is a tag alone, or that have none.
 * @throws Failure `invalid` where an entry needs that; `corrupt` where an image is not whole.
 */
export async function resolveLayout(
  parts: ResolveParts,
  entries: readonly LayoutEntry[],
  as: Place | undefined,
): Promise<Resolved> {
  const gathering = new Gathering(parts);
  const names: NamedDigest[] = [];
  const nameless: LayoutEntry[] = [];
  for (const entry of entries) {
    const name = nameOf(entry, as);
    if (name === undefined) nameless.push(entry);
    else names.push({ name, digest: entry.digest, checkedAt: undefined });
  }
  const roots = [
    ...names.map(({ name, digest }) => ({ place: name.place, digest })),
    ...(await about(parts, nameless, names, as)),
  ];
  if (roots.length === 0) throw new Failure("corrupt", "the archive names no image");
  const types = new Map(entries.map(({ digest, mediaType }) => [digest, mediaType]));
  for (const { place, digest } of roots) await gathering.add(place, digest, types.get(digest) ?? "");
  return { arrivals: gathering.arrivals(), names, notes: gathering.notes };
}

function nameOf({ names, digest }: LayoutEntry, as: Place | undefined): ImageName | undefined {
  for (const text of names) {
    const full = findFullName(text);
    if (full !== undefined) return full;
  }
  const short = names.at(-1);
  if (short === undefined) return undefined;
  if (as !== undefined) return { place: as, reference: { type: "tag", tag: parseTag(short) } };
  throw new Failure(
    "invalid",
    `${digest} is named "${excerpt(short)}" alone: say which repository it is of, --as REPOSITORY`,
  );
}

/** What has no name is of the images that it is about, and of the repository that was given else. */
async function about(
  parts: ResolveParts,
  nameless: readonly LayoutEntry[],
  names: readonly NamedDigest[],
  as: Place | undefined,
): Promise<{ place: Place; digest: Digest }[]> {
  const found: { place: Place; digest: Digest }[] = [];
  for (const { digest, mediaType } of nameless) {
    const { content } = await readDocument(parts, digest, mediaType);
    const places = content.subject === undefined ? [] : uniquePlaces(names.map(({ name }) => name.place));
    if (places.length === 0 && as === undefined) {
      throw new Failure("invalid", `${digest} has no name: say which repository it is of, --as REPOSITORY`);
    }
    const own = content.subject === undefined && as !== undefined ? [as] : places;
    for (const place of own.length === 0 && as !== undefined ? [as] : own) found.push({ place, digest });
  }
  return found;
}

const MAX_DEPTH = 8;
const MAX_DOCUMENTS = 50_000;

interface Gathered {
  readonly place: Place;
  readonly documents: Map<Digest, StoredDocument>;
}

/** Images as they are found below the entries of a layout. */
class Gathering {
  readonly notes: string[] = [];
  readonly #parts: ResolveParts;
  readonly #documents = new Map<Digest, StoredDocument>();
  readonly #byPlace = new Map<string, Gathered>();

  constructor(parts: ResolveParts) {
    this.#parts = parts;
  }

  /** @throws Failure `corrupt` where it is not whole. */
  async add(place: Place, digest: Digest, mediaType: string): Promise<void> {
    const at = this.#byPlace.get(placeKey(place)) ?? { place, documents: new Map() };
    this.#byPlace.set(placeKey(place), at);
    await this.#visit(at, digest, mediaType, 0);
  }

  arrivals(): Arrival[] {
    return [...this.#byPlace.values()].map(({ place, documents }) => {
      const pieces = new Map<Digest, Arrival["pieces"][number]>();
      for (const { digest, sizeBytes, content } of documents.values()) {
        pieces.set(digest, { digest, sizeBytes, from: place.upstream });
        for (const blob of content.blobs) {
          const size = this.#parts.inventory.findSize(blob.digest) ?? blob.sizeBytes;
          pieces.set(blob.digest, { digest: blob.digest, sizeBytes: size, from: place.upstream });
        }
      }
      return { place, documents: inOrder([...documents.values()]), pieces: [...pieces.values()] };
    });
  }

  /** Stored for others does not count: such archives are whole, and to name a digest is no permission. */
  #isHere(place: Place, { digest, sizeBytes }: { readonly digest: Digest; readonly sizeBytes: number }): boolean {
    const { shown, graph, inventory } = this.#parts;
    if (!this.#parts.has(digest, sizeBytes < 0 ? undefined : sizeBytes)) return false;
    return (
      shown.has(digest) || mayRead(graph.findReachable(place, digest), inventory.findUpstream(digest), place.upstream)
    );
  }

  async #visit(at: Gathered, digest: Digest, mediaType: string, depth: number): Promise<void> {
    const { place, documents: found } = at;
    if (found.has(digest)) return;
    if (depth > MAX_DEPTH || found.size >= MAX_DOCUMENTS) {
      throw new Failure("corrupt", "manifests are nested too deeply, or there are too many of them");
    }
    if (!this.#isHere(place, { digest, sizeBytes: -1 }))
      throw new Failure("corrupt", `the archive does not have ${digest}, which it names`);
    const document = this.#documents.get(digest) ?? (await readDocument(this.#parts, digest, mediaType));
    this.#documents.set(digest, document);
    const { manifests, blobs } = document.content;
    const gone = blobs.filter((blob) => !this.#isHere(place, blob));
    if (gone.length > 0)
      throw new Failure("corrupt", `manifest ${digest} names ${some(gone)} that the archive does not have`);
    const here = manifests.filter(({ digest: child }) => this.#isHere(place, { digest: child, sizeBytes: -1 }));
    // Savers leave out what they never pulled. All of it gone is no image.
    if (manifests.length > 0 && here.length === 0) {
      throw new Failure("corrupt", `index ${digest} names ${some(manifests)}, and the archive has none of them`);
    }
    if (here.length < manifests.length) {
      this.notes.push(
        `${digest}: ${manifests.length - here.length} of its ${manifests.length} manifests are not in the archive`,
      );
    }
    for (const child of here) await this.#visit(at, child.digest, child.mediaType, depth + 1);
    found.set(digest, document);
  }
}

function namedBy({ content }: StoredDocument): Digest[] {
  return [...content.manifests, ...content.blobs].map(({ digest }) => digest);
}

/** Images before indexes. */
function inOrder(documents: readonly StoredDocument[]): StoredDocument[] {
  const count = ({ content }: StoredDocument) => content.manifests.length;
  return [...documents].sort((one, other) => Number(count(one) > 0) - Number(count(other) > 0));
}

function uniquePlaces(places: readonly Place[]): Place[] {
  return [...new Map(places.map((place) => [placeKey(place), place])).values()];
}

function some(digests: readonly { readonly digest: Digest }[]): string {
  const [first] = digests;
  if (digests.length === 1 && first !== undefined) return `${first.digest}`;
  return `${digests.length} pieces (${first?.digest}, …)`;
}
