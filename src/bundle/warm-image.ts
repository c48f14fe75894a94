/**
 * One image, whole: its index, the manifests of the wanted platforms, their configuration and layers, and what refers to
 * any of these. What is stored is not asked for.
 *
 * The first failure ends it: what runs is awaited, nothing more is begun.
 */
import { Failure } from "../base/failure.ts";
import type { Descriptor } from "../oci/descriptor.ts";
import type { Digest } from "../oci/digest.ts";
import { parseManifest } from "../oci/manifest.ts";
import { manifestsFor, offersPlatform, type Platform, platformText } from "../oci/platform.ts";
import type { WarmBlobs } from "./warm-blobs.ts";
import type { CompanionBook } from "./warm-companions.ts";
import { missing, type WarmDocuments, type WarmedManifest } from "./warm-documents.ts";
import { type Piece, type Sums, Tally } from "./warm-tally.ts";
import type { WarmTarget } from "./warm-target.ts";

export interface WarmImageParts {
  readonly documents: WarmDocuments;
  readonly blobs: WarmBlobs;
  readonly book: CompanionBook;
}

/** An image that is here, whole. */
export interface WarmedImage {
  readonly digest: Digest;
  /** All that it is made of. */
  readonly parts: readonly Digest[];
  readonly manifests: number;
  readonly blobs: number;
  readonly fetchedBytes: number;
  readonly storedBytes: number;
  /** Wanted ones that the image is not made for. */
  readonly missingPlatforms: readonly string[];
}

/** No image is so large. */
const MAX_MANIFESTS = 2000;
const MAX_DEPTH = 5;
/** Signatures of signatures are looked for, and no further. */
const MAX_COMPANION_DEPTH = 2;

export class WarmImage {
  readonly target: WarmTarget;
  readonly #parts: WarmImageParts;
  readonly #platforms: readonly Platform[];
  readonly #tally = new Tally();
  readonly #seen = new Set<Digest>();
  readonly #named = new Set<Digest>();
  readonly #running: Promise<void>[] = [];
  readonly #bytes = { fetched: 0, stored: 0 };
  #failure: unknown;

  constructor(parts: WarmImageParts, target: WarmTarget, platforms: readonly Platform[]) {
    this.#parts = parts;
    this.target = target;
    this.#platforms = platforms;
  }

  get sums(): Sums {
    return this.#tally.sums;
  }

  /** @throws Failure, why it is not here whole. */
  async run(): Promise<WarmedImage> {
    let top: WarmedManifest | undefined;
    let missingPlatforms: readonly string[] = [];
    try {
      top = await this.#top();
      missingPlatforms = this.#missingPlatforms(top);
      const below = await this.#take(top, this.#platforms, 0);
      await this.#companionsOf(top.manifest.digest, below);
    } catch (error) {
      this.#failure ??= error;
    }
    await Promise.all(this.#running);
    if (top === undefined || this.#failure !== undefined) throw this.#failure;
    return {
      digest: top.manifest.digest,
      parts: [...this.#seen, ...this.#named],
      manifests: this.#seen.size,
      blobs: this.#named.size,
      fetchedBytes: this.#bytes.fetched,
      storedBytes: this.#bytes.stored,
      missingPlatforms,
    };
  }

  async #top(): Promise<WarmedManifest> {
    const { route, reference } = this.target;
    const { documents } = this.#parts;
    if (reference.type === "digest") return await documents.manifest(route, reference.digest);
    const found = await documents.findTag(route, reference.tag);
    if ("absent" in found) throw missing(route, reference, found);
    return found;
  }

  /** @throws Failure `unknown` where it is made for none of the platforms. */
  #missingPlatforms({ manifest }: WarmedManifest): string[] {
    const { manifests } = parseManifest(manifest.bytes, manifest.mediaType);
    if (manifests.length === 0 || this.#platforms.length === 0) return [];
    const absent = this.#platforms.filter((platform) => !offersPlatform(manifests, platform)).map(platformText);
    if (absent.length < this.#platforms.length) return absent;
    const offered = [...new Set(manifests.map(({ platform }) => platform))].filter(
      (platform) => platform !== undefined && !platform.startsWith("unknown/"),
    );
    throw new Failure("unknown", `not made for ${absent.join(", ")}; there is ${offered.slice(0, 20).join(", ")}`);
  }

  /** Its blobs are begun; its manifests are gone through. @returns those manifests, to any depth. */
  async #take(warmed: WarmedManifest, platforms: readonly Platform[], depth: number): Promise<Digest[]> {
    const { manifest } = warmed;
    if (this.#seen.has(manifest.digest)) return [];
    if (this.#seen.size >= MAX_MANIFESTS || depth > MAX_DEPTH) {
      throw new Failure("corrupt", "manifests are nested too deeply, or there are too many of them");
    }
    this.#seen.add(manifest.digest);
    this.#count(warmed.fetched, manifest.bytes.length);
    const content = parseManifest(manifest.bytes, manifest.mediaType);
    for (const blob of content.blobs) this.#begin(blob);
    const below: Digest[] = [];
    for (const { digest } of manifestsFor(manifest.bytes, content.manifests, platforms)) {
      if (this.#seen.has(digest)) continue;
      const child = await this.#fetch(digest);
      below.push(digest, ...(await this.#take(child, platforms, depth + 1)));
    }
    return below;
  }

  async #fetch(digest: Digest): Promise<WarmedManifest> {
    // What failed elsewhere in this image makes it worthless.
    if (this.#failure !== undefined) throw this.#failure;
    return await this.#parts.documents.manifest(this.target.route, digest);
  }

  /** Of the image itself first: what it has tells what to look for of its parts. */
  async #companionsOf(top: Digest, below: readonly Digest[]): Promise<void> {
    const of = await this.#companions(top, { list: true, tags: true }, 0);
    if (!of.listed && !of.tagged) return;
    for (const digest of below) await this.#companions(digest, { list: of.listed, tags: of.tagged }, 0);
  }

  async #companions(
    subject: Digest,
    wanted: { readonly list: boolean; readonly tags: boolean },
    depth: number,
  ): Promise<{ readonly listed: boolean; readonly tagged: boolean }> {
    const { documents, book } = this.#parts;
    const { route } = this.target;
    const fetched = new Map<Digest, WarmedManifest>();
    const onFetched = (warmed: WarmedManifest) => fetched.set(warmed.manifest.digest, warmed);
    const found = await book.find(documents, route, subject, { ...wanted, onFetched });
    for (const digest of found.digests) {
      if (this.#seen.has(digest)) continue;
      await this.#take(fetched.get(digest) ?? (await this.#fetch(digest)), [], 0);
      if (found.listed && depth + 1 < MAX_COMPANION_DEPTH) {
        await this.#companions(digest, { list: true, tags: false }, depth + 1);
      }
    }
    return found;
  }

  #begin(blob: Descriptor): void {
    if (this.#failure !== undefined || this.#named.has(blob.digest)) return;
    this.#named.add(blob.digest);
    const { blobs } = this.#parts;
    const piece: Piece = blobs.pieceOf(blob);
    this.#tally.add(piece);
    this.#running.push(
      this.#bring(blob).catch((error: unknown) => {
        this.#failure ??= error;
      }),
    );
  }

  async #bring(blob: Descriptor): Promise<void> {
    const { blobs, documents } = this.#parts;
    const { route } = this.target;
    const { sizeBytes, fetched } = await blobs.bring(
      route,
      blob,
      (question) => documents.ask(route, question),
      () => this.#failure === undefined,
    );
    this.#count(fetched, sizeBytes);
  }

  #count(fetched: boolean, bytes: number): void {
    this.#bytes[fetched ? "fetched" : "stored"] += bytes;
  }
}
