/**
 * A stored image as a tree, as one repository may see it: its manifests down to their blobs, and what refers to them. What
 * is not stored, or may not be read in that repository, is in the tree and marked so.
 *
 * Only stored documents are read; nobody is asked.
 */
import { Failure } from "../base/failure.ts";
import type { Graph } from "../meta/graph.ts";
import type { Inventory } from "../meta/inventory.ts";
import type { Relations } from "../meta/relations.ts";
import type { Place } from "../meta/repositories.ts";
import { mayRead } from "../mirror/permission.ts";
import { findReferrers } from "../mirror/referrers.ts";
import type { Shelf } from "../mirror/shelf.ts";
import type { Descriptor } from "../oci/descriptor.ts";
import { algorithmOf, type Digest, hexOf } from "../oci/digest.ts";
import { parseManifest } from "../oci/manifest.ts";
import { manifestsFor, type Platform } from "../oci/platform.ts";
import { parseTag, type Tag } from "../oci/reference.ts";
import { Turns } from "./turns.ts";

export interface BlobNode {
  readonly digest: Digest;
  /** Of the stored blob, else as the manifest says; -1 where that says nothing. */
  readonly sizeBytes: number;
  readonly mediaType: string;
  readonly stored: boolean;
}

export interface ManifestNode extends BlobNode {
  /** `linux/arm64/v8`, where an index names it so. */
  readonly platform: string | undefined;
  /** All of these are empty where it is not stored. */
  readonly manifests: readonly ManifestNode[];
  readonly blobs: readonly BlobNode[];
  /** Manifests that it names and that are for none of the wanted platforms. */
  readonly unwanted: readonly Descriptor[];
  /** Stored ones. */
  readonly referrers: readonly ManifestNode[];
}

export interface TreeParts {
  readonly relations: Pick<Relations, "childrenOf">;
  readonly shelf: Pick<Shelf, "find">;
  readonly graph: Pick<Graph, "findReachable">;
  readonly inventory: Pick<Inventory, "findSize" | "findUpstream" | "findMediaType">;
}

export interface TreeOptions {
  /** None: all of them. */
  readonly platforms?: readonly Platform[];
  /** False leaves out what refers to the image. */
  readonly referrers?: boolean;
}

/** No image is so large. */
const MAX_MANIFESTS = 20_000;
const MAX_DEPTH = 8;

/** @throws Failure `corrupt` for a document that is nested or branched beyond all reason. */
export async function readTree(
  parts: TreeParts,
  place: Place,
  digest: Digest,
  options: TreeOptions = {},
): Promise<ManifestNode> {
  const walk = new Walk(parts, place, options);
  return await walk.visit({ digest, sizeBytes: -1, mediaType: "" }, 0);
}

class Walk {
  readonly #parts: TreeParts;
  readonly #place: Place;
  readonly #options: TreeOptions;
  readonly #seen = new Map<Digest, ManifestNode>();
  readonly #turns = new Turns();

  constructor(parts: TreeParts, place: Place, options: TreeOptions) {
    this.#parts = parts;
    this.#place = place;
    this.#options = options;
  }

  async visit(named: Descriptor, depth: number): Promise<ManifestNode> {
    const known = this.#seen.get(named.digest);
    if (known !== undefined) return { ...known, platform: named.platform };
    if (depth > MAX_DEPTH || this.#seen.size >= MAX_MANIFESTS) {
      throw new Failure("corrupt", `${named.digest}: manifests are nested too deeply, or there are too many of them`);
    }
    const node = await this.#read(named, depth);
    this.#seen.set(named.digest, node);
    return node;
  }

  async #read(named: Descriptor, depth: number): Promise<ManifestNode> {
    const { digest, platform } = named;
    await this.#turns.pass();
    const stored = this.#mayRead(digest) ? await this.#parts.shelf.find(digest) : undefined;
    if (stored === undefined) {
      const nothing = { manifests: [], blobs: [], unwanted: [], referrers: [] };
      return { ...this.#leaf(named), stored: false, platform, ...nothing };
    }
    const content = parseManifest(stored.bytes, stored.mediaType);
    const wanted = manifestsFor(stored.bytes, content.manifests, this.#options.platforms ?? []);
    const manifests: ManifestNode[] = [];
    for (const child of wanted) manifests.push(await this.visit(child, depth + 1));
    const referrers: ManifestNode[] = [];
    for (const { digest: of, mediaType, sizeBytes } of await this.#referrersOf(digest)) {
      referrers.push(await this.visit({ digest: of, mediaType, sizeBytes }, depth + 1));
    }
    return {
      digest,
      sizeBytes: stored.bytes.length,
      mediaType: stored.mediaType,
      stored: true,
      platform,
      manifests,
      blobs: content.blobs.map((blob) => this.#leaf(blob)),
      unwanted: content.manifests.filter((child) => !wanted.includes(child)),
      referrers,
    };
  }

  async #referrersOf(digest: Digest) {
    return this.#options.referrers === false ? [] : await findReferrers(this.#parts, this.#place, digest);
  }

  #leaf({ digest, sizeBytes, mediaType }: Descriptor): BlobNode {
    const size = this.#mayRead(digest) ? this.#parts.inventory.findSize(digest) : undefined;
    return { digest, mediaType, sizeBytes: size ?? sizeBytes, stored: size !== undefined };
  }

  #mayRead(digest: Digest): boolean {
    const { graph, inventory } = this.#parts;
    return mayRead(graph.findReachable(this.#place, digest), inventory.findUpstream(digest), this.#place.upstream);
  }
}

/** The manifests of a tree, each once, what names before what is named. */
export function manifestsIn(root: ManifestNode): ManifestNode[] {
  const found = new Map<Digest, ManifestNode>();
  const add = (node: ManifestNode): void => {
    if (found.has(node.digest)) return;
    found.set(node.digest, node);
    for (const below of [...node.manifests, ...node.referrers]) add(below);
  };
  add(root);
  return [...found.values()];
}

/** What of it is not stored, each once. */
export function missingIn(root: ManifestNode): BlobNode[] {
  const all = manifestsIn(root).flatMap((node) => [node, ...node.blobs]);
  return [...new Map(all.filter(({ stored }) => !stored).map((node) => [node.digest, node])).values()];
}

/** Where cosign (before it knew referrers) and the fallback of the specification tag what is about a manifest. */
export function companionTags(digest: Digest): Tag[] {
  const base = `${algorithmOf(digest)}-${hexOf(digest).slice(0, 64)}`;
  return ["", ".sig", ".att", ".sbom"].map((suffix) => parseTag(`${base}${suffix}`));
}
