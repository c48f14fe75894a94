/**
 * Takes single blobs into the store: room first, then the bytes, which count when size and digest are right, then the row.
 */
import type { Clock } from "../base/clock.ts";
import { Failure, isFailure } from "../base/failure.ts";
import type { Inventory } from "../meta/inventory.ts";
import type { StoreLimits } from "../mirror/admission.ts";
import type { Room } from "../mirror/capacity.ts";
import { type Digest, digestOf } from "../oci/digest.ts";
import type { BlobStore, Ingest, Lane } from "../store/blobstore.ts";
import type { Claim, Claims } from "./claims.ts";

export interface IntakeParts {
  readonly store: Pick<BlobStore, "has" | "ingest" | "freeBytes">;
  readonly inventory: Pick<Inventory, "findSize" | "addBlob" | "bytes">;
  readonly capacity: { reserve(sizeBytes: number, newcomer: Newcomer): Promise<Room | string> };
  /** So that whoever has no room is told how much is missing; absent where nobody is. */
  readonly limits?: StoreLimits;
  /** Whoever makes room asks these. */
  readonly claims: Claims;
  readonly clock: Clock;
}

/** What of an archive is blobs at least, where it is large; the rest is headers, padding, and what compressing added. */
const BLOBS_SHARE = 0.95;
const OTHER_BYTES = 1024 * 1024;
/** Of what has no digest yet: that of nothing. */
const NOBODY = digestOf(Buffer.alloc(0));

/** What wants room, as eviction asks it. */
export interface Newcomer {
  readonly digest: Digest;
  readonly upstream: string;
}

export class Intake {
  readonly #parts: IntakeParts;
  readonly #signal: AbortSignal;
  readonly #claim: Claim;
  #taken = { blobs: 0, bytes: 0 };
  #announcedBytes = 0;

  constructor(parts: IntakeParts, signal: AbortSignal) {
    this.#parts = parts;
    this.#signal = signal;
    this.#claim = parts.claims.open();
  }

  /** What it took, and what it found stored, may leave again. */
  close(): void {
    this.#claim.release();
  }

  /** What came new, so far. */
  get taken(): { readonly blobs: number; readonly bytes: number } {
    return this.#taken;
  }

  /** @param sizeBytes it must be so long, where that is known. */
  has(digest: Digest, sizeBytes?: number): boolean {
    const stored = this.#parts.inventory.findSize(digest);
    if (stored === undefined || (sizeBytes !== undefined && stored !== sizeBytes)) return false;
    return this.#parts.store.has(digest);
  }

  /** From now on it does not leave for want of room, if it is stored. */
  claim(digest: Digest): void {
    this.#claim.add(digest);
  }

  /**
   * The archive has so many bytes more. All of it must be stored at the same time in the end, whatever is stored by now.
   * @throws Failure `storage` where that cannot be: before anything leaves for it.
   */
  announce(bytes: number): void {
    this.#announcedBytes += bytes;
    const most = this.#parts.limits?.maxBytes;
    if (most !== undefined && this.#announcedBytes > most)
      throw noRoomAtAll(`at least ${this.#announcedBytes}`, this.#announcedBytes, most);
  }

  /**
   * @param archiveBytes of the whole archive, compressed or not: its blobs have hardly less.
   * @throws Failure `storage`
   */
  async expect(archiveBytes: number): Promise<void> {
    const { limits, inventory, store } = this.#parts;
    if (limits === undefined) return;
    const ofDisk = inventory.bytes + (await store.freeBytes()) - limits.minFreeBytes;
    const most = Math.max(0, Math.min(limits.maxBytes ?? Number.POSITIVE_INFINITY, ofDisk));
    const bytes = Math.floor(archiveBytes * BLOBS_SHARE) - OTHER_BYTES;
    if (bytes > most) throw noRoomAtAll(`about ${archiveBytes}`, archiveBytes, most);
  }

  /**
   * Takes a blob that is not there yet.
   * @param from the upstream that it came from, "" where that is not known.
   * @param name what it is called in complaints.
   * @param onBytes told of bytes as they come.
   * @throws Failure `corrupt` (size, digest), `storage` (no room, disk), or what the bytes fail with.
   */
  async take(
    wanted: { readonly digest: Digest; readonly sizeBytes: number; readonly from: string; readonly name: string },
    chunks: AsyncIterable<Buffer>,
    onBytes: (count: number) => void = () => {},
  ): Promise<void> {
    const { store, inventory, clock } = this.#parts;
    const { digest, sizeBytes, from } = wanted;
    const room = await this.#reserve(wanted);
    try {
      const ingest = await store.ingest(digest);
      try {
        await this.#write(ingest, wanted, chunks, onBytes);
      } catch (error) {
        await ingest.fail(error instanceof Error ? error : new Error(String(error)));
        throw explained(error, wanted.name);
      } finally {
        ingest.close();
      }
      inventory.addBlob(digest, sizeBytes, from, clock.now());
      this.#taken = { blobs: this.#taken.blobs + 1, bytes: this.#taken.bytes + sizeBytes };
    } finally {
      room.release();
    }
  }

  /** Before the first byte: is there room for all of it? @throws Failure `storage`, which says how much is missing. */
  async checkRoom(wanted: readonly { readonly digest: Digest; readonly sizeBytes: number; readonly from: string }[]) {
    const [first] = wanted;
    if (first === undefined) return;
    const bytes = wanted.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
    const room = await this.#parts.capacity.reserve(bytes, { digest: first.digest, upstream: first.from });
    if (typeof room === "string") throw await this.#noRoomFor("what the bundle brings", bytes, room);
    room.release();
  }

  /** Room for what is no blob yet. @throws Failure `storage` */
  async room(sizeBytes: number): Promise<Room> {
    const room = await this.#parts.capacity.reserve(sizeBytes, { digest: NOBODY, upstream: "" });
    if (typeof room === "string") throw await this.#noRoomFor("a layer on its way", sizeBytes, room);
    return room;
  }

  async #reserve({ digest, sizeBytes, from, name }: Parameters<Intake["take"]>[0]): Promise<Room> {
    const room = await this.#parts.capacity.reserve(sizeBytes, { digest, upstream: from });
    if (typeof room === "string") throw await this.#noRoomFor(name, sizeBytes, room);
    return room;
  }

  async #noRoomFor(what: string, sizeBytes: number, refusal: string): Promise<Failure> {
    const { limits, inventory, store } = this.#parts;
    const ofSize = limits?.maxBytes === undefined ? 0 : inventory.bytes + sizeBytes - limits.maxBytes;
    const ofFree = limits === undefined ? 0 : limits.minFreeBytes + sizeBytes - (await store.freeBytes());
    const missing = Math.max(ofSize, ofFree);
    const lack = missing > 0 ? `, ${missing} more than there is room for` : "";
    const advice = "free space, raise cache.maxSize, or purge what is not needed";
    return new Failure("storage", `there is no room for ${what}: ${sizeBytes} bytes${lack} (${refusal}); ${advice}`, {
      detail: { refusal, sizeBytes, missing },
    });
  }

  async #write(
    ingest: Ingest,
    { sizeBytes }: { readonly sizeBytes: number },
    chunks: AsyncIterable<Buffer>,
    onBytes: (count: number) => void,
  ): Promise<void> {
    ingest.declareSize(sizeBytes);
    const lane = ingest.lane(0, sizeBytes);
    try {
      for await (const chunk of chunks) {
        this.#signal.throwIfAborted();
        await fill(lane, chunk);
        onBytes(chunk.length);
      }
    } finally {
      lane.close();
    }
    await (await ingest.finish()).stored;
  }
}

/** Resolves when there is memory for more. */
async function fill(lane: Lane, chunk: Buffer): Promise<void> {
  for (let at = 0; at < chunk.length; ) {
    const space = lane.space();
    const count = Math.min(space.length, chunk.length - at);
    space.set(chunk.subarray(at, at + count));
    at += count;
    if (!lane.filled(count)) await new Promise<void>((resolve) => lane.onDrain(resolve));
  }
}

/** In the store's words everything comes from an upstream. */
function explained(error: unknown, name: string): unknown {
  if (!isFailure(error, "corrupt")) return error;
  const { detail, message } = error;
  if (typeof detail === "object" && detail !== null && "truncated" in detail) return error;
  const why = /other content/.test(message) ? "does not match its digest" : "is not as long as it should be";
  return new Failure("corrupt", `${name} ${why}`, { cause: error, detail });
}

function noRoomAtAll(about: string, sizeBytes: number, most: number): Failure {
  const missing = sizeBytes - most;
  return new Failure(
    "storage",
    `there is no room for the archive: it brings ${about} bytes, ${missing} more than may be stored in all (cache-full); ` +
      "free space, or raise cache.maxSize",
    { detail: { refusal: "cache-full", sizeBytes, missing } },
  );
}
