/**
 * Manifests within reach: verified bytes and media type by digest, in memory over the store.
 *
 * Keeping a manifest means: verified, stored, linked in the graph, in this order. What cannot be stored is still served
 * to whoever waits for it.
 */
import { LRUCache } from "lru-cache";
import { atMost } from "../base/bounded.ts";
import type { Clock } from "../base/clock.ts";
import { Failure, isFailure } from "../base/failure.ts";
import type { Emitter } from "../base/notices.ts";
import type { Graph, Reachable } from "../meta/graph.ts";
import type { Inventory } from "../meta/inventory.ts";
import { type Place, placeKey } from "../meta/repositories.ts";
import { algorithmOf, type Digest, digestOf } from "../oci/digest.ts";
import { parseManifest } from "../oci/manifest.ts";
import type { BlobStore } from "../store/blobstore.ts";
import { MAX_MANIFEST_BYTES } from "../upstream/upstream.ts";
import type { Capacity } from "./capacity.ts";
import type { MirrorNotices } from "./notices.ts";

export interface ShelvedManifest {
  readonly digest: Digest;
  readonly mediaType: string;
  readonly bytes: Buffer;
}

export interface ShelfParts {
  readonly capacity: Pick<Capacity, "reserve">;
  readonly store: Pick<BlobStore, "read" | "ingest" | "remove">;
  readonly inventory: Pick<Inventory, "findSize" | "findMediaType" | "addBlob" | "addManifest" | "dropBlob">;
  readonly graph: Pick<Graph, "link">;
  readonly clock: Clock;
  readonly notices: Emitter<MirrorNotices>;
  /** Upper bound for manifests held in memory. */
  readonly memoryBytes?: number;
}

const DEFAULT_MEMORY_BYTES = 64 * 1024 * 1024;
/** Of one manifest that are remembered as linked. */
const MAX_PLACES = 64;

export class Shelf {
  readonly #parts: ShelfParts;
  readonly #memory: LRUCache<Digest, ShelvedManifest>;
  /** The places, of each manifest, whose links are known to be there, so that a hit need not make them again. */
  readonly #expanded = new LRUCache<Digest, Set<string>>(atMost(20_000));

  constructor(parts: ShelfParts) {
    this.#parts = parts;
    this.#memory = new LRUCache({
      maxSize: parts.memoryBytes ?? DEFAULT_MEMORY_BYTES,
      sizeCalculation: (manifest) => manifest.bytes.length + 512,
    });
  }

  /** From memory alone. */
  peek(digest: Digest): ShelvedManifest | undefined {
    return this.#memory.get(digest);
  }

  /** It is gone, or somebody found it damaged: it is looked for on disk the next time, and linked anew. */
  forget(digest: Digest): void {
    this.#memory.delete(digest);
    this.#expanded.delete(digest);
  }

  /** From memory or store; undefined where it is not stored, or not as a manifest. */
  async find(digest: Digest): Promise<ShelvedManifest | undefined> {
    const held = this.#memory.get(digest);
    if (held !== undefined) return held;
    const mediaType = this.#parts.inventory.findMediaType(digest);
    if (mediaType === undefined) return undefined;
    const bytes = await this.#read(digest);
    if (bytes === "unreadable") return undefined;
    // Manifests are small: bit rot and truncation are looked for whenever one comes from disk.
    if (bytes === undefined || digestOf(bytes, algorithmOf(digest)) !== digest) {
      await this.#drop(digest, bytes !== undefined);
      return undefined;
    }
    const manifest = { digest, mediaType, bytes };
    this.#memory.set(digest, manifest);
    return manifest;
  }

  /**
   * Verifies what an upstream served and keeps it.
   * @param expected the digest that was asked for; undefined where it was asked for by tag.
   * @returns `kept` false where there is no room, or the disk would not take it.
   * @throws Failure `corrupt`.
   */
  async keep(
    place: Place,
    served: { readonly bytes: Buffer; readonly mediaType: string | undefined; readonly digest?: Digest | undefined },
    expected: Digest | undefined,
  ): Promise<{ manifest: ShelvedManifest; kept: boolean }> {
    const claimed = expected ?? served.digest;
    const digest = digestOf(served.bytes, claimed === undefined ? "sha256" : algorithmOf(claimed));
    if (claimed !== undefined && claimed !== digest) {
      this.#parts.notices.emit("digestMismatch", { upstream: place.upstream, expected: claimed, found: digest });
      throw new Failure("corrupt", `the upstream served a manifest with another digest: ${digest}`, {
        code: "MANIFEST_INVALID",
        detail: { expected: claimed, found: digest },
      });
    }
    const content = parseManifest(served.bytes, served.mediaType);
    // Where a document does not say its own type, the first that it was served with stays.
    const mediaType = this.#parts.inventory.findMediaType(digest) ?? content.mediaType;
    const manifest = { digest, mediaType, bytes: served.bytes };
    const isStored = this.#parts.inventory.findSize(digest) !== undefined;
    const sizeBytes = isStored ? 0 : manifest.bytes.length;
    const room = await this.#parts.capacity.reserve(sizeBytes, { digest, upstream: place.upstream });
    // What takes no room can be kept in a full store.
    if (typeof room === "string" && !isStored) return { manifest, kept: false };
    try {
      await this.#write(manifest, place.upstream);
      this.#link(place, manifest, true);
    } catch (error) {
      this.#parts.notices.emit("storageTrouble", { message: "a manifest could not be stored", cause: error });
      return { manifest, kept: false };
    } finally {
      if (typeof room === "object") room.release();
    }
    this.#memory.set(digest, manifest);
    return { manifest, kept: true };
  }

  /**
   * Records that the place may read this manifest and what it names. A database in trouble is told to observers and
   * keeps nobody from an answer that is already here.
   * @param confirmed whether the upstream itself said that the place has it.
   */
  link(place: Place, manifest: ShelvedManifest, confirmed: boolean): void {
    if (this.#expanded.get(manifest.digest)?.has(expansionKey(place, confirmed)) === true) return;
    try {
      this.#link(place, manifest, confirmed);
    } catch (cause) {
      this.#parts.notices.emit("storageTrouble", { message: "a permission could not be recorded", cause });
    }
  }

  /** By its tag it is about another manifest: where that is stored, it leaves with it. */
  attach(manifest: ShelvedManifest, subject: Digest): void {
    this.#parts.inventory.addManifest(manifest.digest, manifest.mediaType, { children: [], subject });
  }

  #link(place: Place, manifest: ShelvedManifest, confirmed: boolean): void {
    const content = parseManifest(manifest.bytes, manifest.mediaType);
    const self: Reachable = { digest: manifest.digest, sizeBytes: manifest.bytes.length, confirmed };
    const named = [...content.manifests, ...content.blobs].map(({ digest, sizeBytes }) => ({
      digest,
      sizeBytes,
      confirmed: false,
    }));
    this.#parts.graph.link(place, [self, ...named]);
    const places = this.#expanded.get(manifest.digest) ?? new Set();
    if (places.size >= MAX_PLACES) places.clear();
    this.#expanded.set(manifest.digest, places.add(expansionKey(place, confirmed)));
  }

  async #write(manifest: ShelvedManifest, upstream: string): Promise<void> {
    const { store, inventory, clock } = this.#parts;
    const isNew = inventory.findSize(manifest.digest) === undefined;
    if (isNew) {
      const ingest = await store.ingest(manifest.digest);
      try {
        ingest.declareSize(manifest.bytes.length);
        ingest.write(manifest.bytes);
        await (await ingest.finish()).stored;
      } catch (error) {
        await ingest.fail(error instanceof Error ? error : new Error(String(error)));
        throw error;
      } finally {
        ingest.close();
      }
    }
    const { manifests, blobs, subject } = parseManifest(manifest.bytes, manifest.mediaType);
    const children = [...manifests, ...blobs].map(({ digest }) => digest);
    // First: a kill in between must not leave a blob that nobody knows to be a manifest.
    inventory.addManifest(manifest.digest, manifest.mediaType, { children, subject: subject?.digest });
    if (isNew) inventory.addBlob(manifest.digest, manifest.bytes.length, upstream, clock.now());
  }

  /** A disk in trouble is no reason to refuse what the upstream could still tell. */
  async #read(digest: Digest): Promise<Buffer | "unreadable" | undefined> {
    try {
      return await this.#parts.store.read(digest, MAX_MANIFEST_BYTES);
    } catch (cause) {
      if (!isFailure(cause, "storage")) throw cause;
      this.#parts.notices.emit("storageTrouble", { message: "a stored manifest cannot be read", cause });
      return "unreadable";
    }
  }

  /** Told once: the row goes with the first time. */
  async #drop(digest: Digest, damaged: boolean): Promise<void> {
    const { store, inventory, notices } = this.#parts;
    if (damaged || inventory.findSize(digest) !== undefined) {
      const what = damaged ? "no longer matches its digest" : "has lost its file";
      const message = `stored manifest ${digest} ${what}; it will be fetched again`;
      notices.emit("storageTrouble", { message, cause: undefined });
    }
    inventory.dropBlob(digest);
    await store.remove(digest).catch((error: unknown) => {
      if (!isFailure(error, "storage")) throw error;
    });
  }
}

function expansionKey(place: Place, confirmed: boolean): string {
  return confirmed ? `${placeKey(place)}!` : placeKey(place);
}
