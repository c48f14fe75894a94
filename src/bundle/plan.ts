/**
 * What goes into a bundle: everything that the wanted references need and that is stored, as it may be read where they
 * are. Nothing is fetched: what is not there is told, all of it at once.
 */
import { Failure } from "../base/failure.ts";
import type { Inventory } from "../meta/inventory.ts";
import { type Place, placeKey } from "../meta/repositories.ts";
import type { Tags } from "../meta/tags.ts";
import type { Shelf } from "../mirror/shelf.ts";
import { type Digest, digestOf } from "../oci/digest.ts";
import { type Platform, platformText } from "../oci/platform.ts";
import { type BundledReference, type Contents, encodeContents, type Piece } from "./contents.ts";
import { encodeIndex } from "./layout.ts";
import { type ImageName, nameText } from "./names.ts";
import { companionTags, type ManifestNode, manifestsIn, missingIn, readTree, type TreeParts } from "./tree.ts";
import { Turns } from "./turns.ts";

export interface PlanParts extends TreeParts {
  readonly tags: Pick<Tags, "find">;
  readonly inventory: TreeParts["inventory"] & Pick<Inventory, "findUpstream">;
  readonly shelf: Pick<Shelf, "find">;
}

export interface BundleRequest {
  readonly references: readonly ImageName[];
  /** None: all of them. */
  readonly platforms: readonly Platform[];
  /** What the other side has. */
  readonly have: ReadonlySet<Digest>;
  /** The contents of the bundle that brought it there. */
  readonly since: Digest | undefined;
  /** Epoch ms. */
  readonly createdAt: number;
}

export interface BundlePlan {
  readonly contents: Contents;
  readonly contentsBytes: Buffer;
  readonly indexBytes: Buffer;
  /** Manifests first, so that whoever reads a stream knows soon what will come. */
  readonly carried: readonly Piece[];
}

interface Found {
  readonly name: ImageName;
  readonly tree: ManifestNode;
  readonly checkedAt: number | undefined;
}

/** @throws Failure `unknown` for what is not stored whole; it says what is missing, and what fetches it. */
export async function planBundle(parts: PlanParts, request: BundleRequest): Promise<BundlePlan> {
  const found: Found[] = [];
  const lacking: Lack[] = [];
  const turns = new Turns();
  for (const name of unique(request.references)) {
    await turns.pass();
    const one = await findImage(parts, name, request.platforms);
    if ("why" in one) lacking.push(one);
    else found.push(one);
  }
  if (lacking.length > 0) throw incomplete(lacking, request.platforms);
  const all = [...found, ...(await findCompanions(parts, found))];
  const references = all.map(
    ({ name, tree, checkedAt }): BundledReference => ({ ...name, digest: tree.digest, checkedAt }),
  );
  const pieces = await collect(parts, all, request.have);
  const unwanted = new Set(
    all.flatMap(({ tree }) => manifestsIn(tree).flatMap((node) => node.unwanted.map(({ digest }) => digest))),
  );
  for (const { digest } of pieces) unwanted.delete(digest);
  const indexBytes = indexOf(all);
  const contents: Contents = {
    createdAt: request.createdAt,
    index: { digest: digestOf(indexBytes), sizeBytes: indexBytes.length },
    since: request.since,
    references,
    pieces,
    unwanted: [...unwanted],
  };
  return {
    contents,
    contentsBytes: await encodeContents(contents),
    indexBytes,
    carried: pieces.filter(({ carried }) => carried).sort(byKindAndDigest),
  };
}

interface Lack {
  readonly name: ImageName;
  readonly why: string;
}

async function findImage(parts: PlanParts, name: ImageName, platforms: readonly Platform[]): Promise<Found | Lack> {
  const { place, reference } = name;
  const entry = reference.type === "tag" ? parts.tags.find(place, reference.tag) : undefined;
  const digest = reference.type === "digest" ? reference.digest : entry?.digest;
  if (digest === undefined) return { name, why: "it is not stored here" };
  const tree = await readTree(parts, place, digest, { platforms });
  const missing = missingIn(tree);
  if (!tree.stored) return { name, why: "its manifest is not stored here" };
  // What refers to the image is taken along as it is there; only the image itself must be whole.
  const needed = missingIn(withoutReferrers(tree));
  if (needed.length > 0) {
    const bytes = needed.reduce((sum, { sizeBytes }) => sum + Math.max(0, sizeBytes), 0);
    const total = new Set(manifestsIn(tree).flatMap((node) => [node.digest, ...node.blobs.map((blob) => blob.digest)]));
    return { name, why: `${needed.length} of its ${total.size} pieces are not stored here (${bytes} bytes at least)` };
  }
  if (tree.manifests.length === 0 && tree.unwanted.length > 0) return { name, why: "it is for none of the platforms" };
  return { name, tree: missing.length === 0 ? tree : withWholeReferrers(tree), checkedAt: entry?.checkedAt };
}

/** Tags beside the image's own, by which older tools find what is about a manifest. Those that are not whole stay behind. */
async function findCompanions(parts: PlanParts, found: readonly Found[]): Promise<Found[]> {
  const companions = new Map<string, Found>();
  for (const { name, tree } of found) {
    for (const { digest } of manifestsIn(tree)) {
      for (const tag of companionTags(digest)) {
        if (parts.tags.find(name.place, tag) === undefined) continue;
        const one = await findImage(parts, { place: name.place, reference: { type: "tag", tag } }, []);
        if ("tree" in one) companions.set(nameText(one.name), one);
      }
    }
  }
  for (const { name } of found) companions.delete(nameText(name));
  return [...companions.values()];
}

async function collect(parts: PlanParts, all: readonly Found[], have: ReadonlySet<Digest>): Promise<Piece[]> {
  const turns = new Turns();
  const found = new Map<Digest, { piece: Omit<Piece, "places">; places: Map<string, Place> }>();
  const add = (place: Place, digest: Digest, sizeBytes: number, mediaType: string | undefined) => {
    const known = found.get(digest);
    if (known !== undefined) {
      known.places.set(placeKey(place), place);
      if (mediaType !== undefined) known.piece = { ...known.piece, mediaType };
      return;
    }
    const from = parts.inventory.findUpstream(digest) ?? "";
    found.set(digest, {
      piece: { digest, sizeBytes, mediaType, from, carried: !have.has(digest) },
      places: new Map([[placeKey(place), place]]),
    });
  };
  for (const { name, tree } of all) {
    for (const node of manifestsIn(tree)) {
      add(name.place, node.digest, node.sizeBytes, node.mediaType);
      for (const blob of node.blobs) add(name.place, blob.digest, blob.sizeBytes, undefined);
      await turns.pass();
    }
  }
  return [...found.values()].map(({ piece, places }) => ({ ...piece, places: [...places.values()] }));
}

/** Named entries first, then what refers to them; each in the order of its text. */
function indexOf(all: readonly Found[]): Buffer {
  const named = all.map(({ name, tree }) => ({ ...plain(tree), name: nameText(name), artifactType: undefined }));
  const referrers = new Map<Digest, ManifestNode>();
  for (const { tree } of all) {
    for (const node of manifestsIn(tree)) for (const one of node.referrers) referrers.set(one.digest, one);
  }
  for (const { digest } of named) referrers.delete(digest);
  const unnamed = [...referrers.values()].map((node) => ({ ...plain(node), name: undefined, artifactType: undefined }));
  return encodeIndex([
    ...named.sort((one, other) => (one.name < other.name ? -1 : 1)),
    ...unnamed.sort((one, other) => (one.digest < other.digest ? -1 : 1)),
  ]);
}

function plain({ digest, sizeBytes, mediaType }: ManifestNode) {
  return { digest, sizeBytes, mediaType };
}

function withoutReferrers(node: ManifestNode): ManifestNode {
  return { ...node, referrers: [], manifests: node.manifests.map(withoutReferrers) };
}

function withWholeReferrers(node: ManifestNode): ManifestNode {
  return {
    ...node,
    manifests: node.manifests.map(withWholeReferrers),
    referrers: node.referrers.filter((one) => missingIn(one).length === 0),
  };
}

function unique(names: readonly ImageName[]): ImageName[] {
  return [...new Map(names.map((name) => [nameText(name), name])).values()];
}

/** Manifests, small as they are, then blobs. */
function byKindAndDigest(one: Piece, other: Piece): number {
  const kinds = Number(one.mediaType === undefined) - Number(other.mediaType === undefined);
  return kinds !== 0 ? kinds : one.digest < other.digest ? -1 : 1;
}

const MAX_TOLD = 20;

function incomplete(lacking: readonly Lack[], platforms: readonly Platform[]): Failure {
  const only = platforms.length === 0 ? "" : ` --platform ${platforms.map(platformText).join(",")}`;
  const lines = lacking.slice(0, MAX_TOLD).map(({ name, why }) => `${nameText(name)}: ${why}`);
  const more = lacking.length > MAX_TOLD ? [`and ${lacking.length - MAX_TOLD} more`] : [];
  const names = lacking.slice(0, MAX_TOLD).map(({ name }) => nameText(name));
  const hint = `fetch it first: wharfinger warm${only} ${names.join(" ")}`;
  const smaller = platforms.length === 0 ? ["or name the platforms that are wanted: --platform linux/amd64"] : [];
  return new Failure("unknown", [...lines, ...more, hint, ...smaller].join("\n"), {
    detail: { missing: names },
  });
}
