/**
 * Takes units out of the store: their rows first, in one transaction for a few at a time, then their names, in the same
 * turn of the event loop, then their space. So nobody ever finds a name without the right to it.
 *
 * Where the disk does not let go of a file, this stops, and tries one at a time the next time: it must not empty the index
 * and free nothing.
 */
import type { Emitter } from "../base/notices.ts";
import type { Holding, Holdings } from "../meta/holdings.ts";
import type { Inventory } from "../meta/inventory.ts";
import type { Need } from "../mirror/admission.ts";
import type { MirrorNotices } from "../mirror/notices.ts";
import type { Shelf } from "../mirror/shelf.ts";
import type { Digest } from "../oci/digest.ts";
import type { DiskStore } from "../store/disk.ts";
import type { Unit } from "./candidates.ts";
import type { Slices } from "./slices.ts";

export interface RemovalParts {
  readonly holdings: Pick<Holdings, "evict" | "namesOf">;
  readonly inventory: Pick<Inventory, "addBlob">;
  readonly shelf: Pick<Shelf, "forget">;
  readonly store: Pick<DiskStore, "discard" | "has">;
  readonly notices: Emitter<MirrorNotices>;
  readonly isBusy: (digest: Digest) => boolean;
}

/** What has left. */
export interface Removed {
  images: number;
  blobs: number;
  bytes: number;
  /** What the disk or the database would not do; nothing more was tried then. */
  failure: unknown;
}

interface Item {
  readonly holding: Holding;
  readonly unit: Unit;
  readonly isFirst: boolean;
  readonly isLast: boolean;
}

interface Leaving {
  names: readonly string[];
  blobs: number;
  bytes: number;
}

const MAX_CHUNK = 32;
const MIN_CHUNK = 10;
/** How long one transaction should take about. */
const CHUNK_MS = 5;
const MAX_DISCARDS = 64;
const MAX_NAMES = 5;
/** Of its result codes (sqlite.org/rescode.html). */
const SQLITE_FULL = 13;

export class Removal {
  readonly #parts: RemovalParts;
  #chunk = 10;
  #leavingBytes = 0;
  /** The disk did not let go of something the last time. */
  #wary = false;

  constructor(parts: RemovalParts) {
    this.#parts = parts;
  }

  /** Bytes whose rows are gone and whose files are not yet. */
  get leavingBytes(): number {
    return this.#leavingBytes;
  }

  /** @param forced these roots leave although something names them. */
  async remove(units: readonly Unit[], reason: Need, slices: Slices, forced = false): Promise<Removed> {
    const removed: Removed = { images: 0, blobs: 0, bytes: 0, failure: undefined };
    const discards = new Set<Promise<void>>();
    const items = units.flatMap(itemsOf);
    let leaving: Leaving = { names: [], blobs: 0, bytes: 0 };
    for (let at = 0; at < items.length && removed.failure === undefined; ) {
      await slices.pass();
      const chunk = items.slice(at, at + (this.#wary ? 1 : this.#chunk));
      at += chunk.length;
      const startedAt = performance.now();
      const names = new Map<Digest, string[]>();
      for (const { holding, isFirst } of chunk) {
        if (isFirst) names.set(holding.digest, this.#parts.holdings.namesOf(holding.digest, MAX_NAMES));
      }
      let gone: ReadonlyMap<Digest, Holding>;
      try {
        gone = await this.#evict(chunk, forced);
      } catch (error) {
        removed.failure = error;
        break;
      }
      for (const holding of gone.values()) {
        const discard = this.#discard(holding, removed).finally(() => discards.delete(discard));
        discards.add(discard);
      }
      for (const { holding, unit, isFirst, isLast } of chunk) {
        if (isFirst) leaving = { names: names.get(holding.digest) ?? [], blobs: 0, bytes: 0 };
        if (gone.has(holding.digest)) {
          leaving.blobs += 1;
          leaving.bytes += holding.sizeBytes;
        }
        if (isLast) this.#tell(unit, leaving, reason, removed);
      }
      this.#adapt(performance.now() - startedAt);
      if (this.#wary || discards.size >= MAX_DISCARDS) await Promise.all(discards);
    }
    await Promise.all(discards);
    if (removed.failure !== undefined || removed.blobs > 0) this.#wary = removed.failure !== undefined;
    return removed;
  }

  async #evict(chunk: readonly Item[], forced: boolean): Promise<ReadonlyMap<Digest, Holding>> {
    const { holdings, store, isBusy } = this.#parts;
    const free = chunk.filter(({ holding }) => !isBusy(holding.digest));
    const digests = free.map(({ holding }) => holding.digest);
    const root = forced ? free.find(({ isFirst }) => isFirst)?.holding.digest : undefined;
    const evict = () => new Map(holdings.evict(digests, root).map((holding) => [holding.digest, holding]));
    try {
      return evict();
    } catch (error) {
      if (!isFull(error)) throw error;
      // To forget takes space as well, and there may be none: then the files go first.
      await Promise.all(digests.map((digest) => store.discard(digest)));
      return evict();
    }
  }

  async #discard(holding: Holding, removed: Removed): Promise<void> {
    const { shelf, store, inventory } = this.#parts;
    const { digest, sizeBytes, upstream } = holding;
    this.#leavingBytes += sizeBytes;
    shelf.forget(digest);
    try {
      await store.discard(digest);
      removed.blobs += 1;
      removed.bytes += sizeBytes;
    } catch (error) {
      removed.failure ??= error;
      // Where it has its name still, it counts by its row; what only lingers, the store counts.
      if (store.has(digest)) inventory.addBlob(digest, sizeBytes, upstream, holding.lastUsedAt);
    } finally {
      this.#leavingBytes -= sizeBytes;
    }
  }

  #tell({ root }: Unit, { names, blobs, bytes }: Leaving, reason: Need, removed: Removed): void {
    if (blobs === 0) return;
    removed.images += 1;
    const { digest, upstream, lastUsedAt, hits } = root;
    this.#parts.notices.emit("evicted", { reason, upstream, digest, names, blobs, bytes, lastUsedAt, hits });
  }

  #adapt(tookMs: number): void {
    if (tookMs > CHUNK_MS) this.#chunk = Math.max(MIN_CHUNK, Math.floor(this.#chunk / 2));
    else if (tookMs < CHUNK_MS / 2) this.#chunk = Math.min(MAX_CHUNK, this.#chunk + 4);
  }
}

/** Anything else says nothing of space, and files without rows would be lost for nothing. */
function isFull(error: unknown): boolean {
  return error instanceof Error && "errcode" in error && (Number(error.errcode) & 0xff) === SQLITE_FULL;
}

function itemsOf(unit: Unit): Item[] {
  const { members } = unit;
  return members.map((holding, at) => ({ holding, unit, isFirst: at === 0, isLast: at === members.length - 1 }));
}
