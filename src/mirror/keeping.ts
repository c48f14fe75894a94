/**
 * Keeps what fills have fetched, should they not come to their end: notes how far each is while it runs, and what is
 * left of it when it was suspended, until it is taken up again.
 *
 * Notes are behind the files and never ahead of them. What is kept is bounded in time and in bytes, the oldest goes first;
 * what cannot be noted is fetched again, and no fill suffers from it.
 */
import type { Clock } from "../base/clock.ts";
import type { Emitter } from "../base/notices.ts";
import type { KeptPartial, PartialNote, Partials } from "../meta/partials.ts";
import type { Place } from "../meta/repositories.ts";
import type { Digest } from "../oci/digest.ts";
import { BARRIER_BYTES, type BlobStore, type Ingest } from "../store/blobstore.ts";
import type { Follower } from "../store/follower.ts";
import { KEPT_FROM_BYTES, KEPT_MS, keptLimit } from "./fillpolicy.ts";
import type { MirrorNotices } from "./notices.ts";

export interface KeepingParts {
  readonly partials: Partials;
  readonly store: Pick<BlobStore, "removePartial">;
  /** Of the store; undefined where it has no limit. */
  readonly maxBytes: number | undefined;
  readonly clock: Clock;
  readonly notices: Emitter<MirrorNotices>;
}

/** What a crash may take: so much of what came, or what came in so long. */
const NOTED_BYTES = 1024 * 1024;
const NOTED_MS = 250;
const LOOK_MS = 50;
/** What grows faster than timers come is noted as it grows: by so much more of what there is, which is seldom enough. */
const GROWN_SHARE = 1 / 16;

interface Running {
  readonly place: Place;
  readonly ingest: Ingest;
  /** 0 where nothing was noted yet. */
  notedBytes: number;
  notedAt: number;
  readonly follower: Follower;
}

export class Keeping {
  readonly #parts: KeepingParts;
  readonly #running = new Map<Digest, Running>();
  /** What nobody fetches now, the oldest first. */
  readonly #kept = new Map<Digest, KeptPartial>();
  #keptBytes = 0;
  /** What somebody goes on with who has no room set aside for it yet. */
  readonly #taken = new Map<Digest, number>();
  #takenBytes = 0;
  #cancelNote: (() => void) | undefined;
  #troubled = false;

  /** Knows at once what an earlier life has noted. */
  constructor(parts: KeepingParts) {
    this.#parts = parts;
    for (const partial of this.#record(() => parts.partials.list()) ?? []) this.#add(partial);
  }

  /** Bytes on disk of what nobody fetches now. */
  get bytes(): number {
    return this.#keptBytes;
  }

  /** Bytes on disk of what was taken, and has no room set aside for it yet. @param digest of this one only. */
  takenBytes(digest?: Digest): number {
    return digest === undefined ? this.#takenBytes : (this.#taken.get(digest) ?? 0);
  }

  /** There is room for it: it counts there from now on. */
  settle(digest: Digest): void {
    this.#takenBytes -= this.#taken.get(digest) ?? 0;
    this.#taken.delete(digest);
  }

  has(digest: Digest): boolean {
    return this.#kept.has(digest);
  }

  /** What nobody fetches now, the oldest first. */
  list(): KeptPartial[] {
    return [...this.#kept.values()];
  }

  /** For whoever goes on with it. The last byte is always left to be asked for: its answer is the permission. */
  take(digest: Digest): KeptPartial | undefined {
    const partial = this.#kept.get(digest);
    if (partial === undefined) return undefined;
    this.#forget(partial);
    this.#taken.set(digest, partial.prefixBytes);
    this.#takenBytes += partial.prefixBytes;
    return { ...partial, prefixBytes: Math.min(partial.prefixBytes, partial.sizeBytes - 1) };
  }

  /** What was taken could not be opened now. */
  giveBack(partial: KeptPartial): void {
    this.settle(partial.digest);
    this.#add(partial);
  }

  /** What was taken turned out to be of no use, and its file is gone. */
  lost({ digest, file }: Pick<KeptPartial, "digest" | "file">): void {
    this.settle(digest);
    this.#record(() => this.#parts.partials.drop(digest, file));
  }

  /** A fill has begun. @param isTaken whether it goes on with what was kept, which is noted already. */
  begin(place: Place, ingest: Ingest, isTaken: boolean): void {
    const { digest, sizeBytes = 0 } = ingest;
    if (sizeBytes < KEPT_FROM_BYTES) return;
    const notedBytes = isTaken ? ingest.written().writtenBytes : 0;
    const follower = ingest.follow(() => {});
    const running: Running = { place, ingest, notedBytes, notedAt: this.#parts.clock.now(), follower };
    this.#running.set(digest, running);
    this.#watch(running, ingest.written().writtenBytes);
    this.#noteLater();
  }

  /** It is stored, or thrown away. */
  end(ingest: Ingest): void {
    const running = this.#running.get(ingest.digest);
    if (running?.ingest !== ingest) return;
    this.#stop(ingest.digest);
    if (running.notedBytes > 0) this.#record(() => this.#parts.partials.drop(ingest.digest, ingest.file));
  }

  /** It ends without a blob: what it has is kept where that is worth it, and thrown away otherwise. */
  async suspend(place: Place, ingest: Ingest, reason: Error): Promise<void> {
    const { digest, file, sizeBytes } = ingest;
    const written = await ingest.suspend(reason);
    const at = this.#parts.clock.now();
    const isKept =
      written !== undefined &&
      sizeBytes !== undefined &&
      written.writtenBytes >= KEPT_FROM_BYTES &&
      this.#put([{ digest, file, place, sizeBytes, ...written }], at);
    if (!isKept) {
      this.end(ingest);
      await this.#parts.store.removePartial(file);
      this.settle(digest);
      return;
    }
    this.settle(digest);
    this.#stop(digest);
    this.#add({ digest, file, place, sizeBytes, prefixBytes: written.writtenBytes, notedAt: at });
    await this.trim();
  }

  /** Removes what has been kept too long, or is too much. */
  async trim(): Promise<void> {
    const { clock, maxBytes } = this.#parts;
    const now = clock.now();
    for (const partial of this.list()) {
      // A clock that is wrong at a start costs nothing; what is from its future ages from now on.
      if (partial.notedAt > now) this.#kept.set(partial.digest, { ...partial, notedAt: now });
      const isOld = now - partial.notedAt > KEPT_MS;
      if (isOld || this.#keptBytes > keptLimit(maxBytes)) await this.remove(partial.digest);
    }
  }

  /** Removes the oldest until so many bytes are free again, or nothing is left. @returns how many there are. */
  async makeRoom(bytes: number): Promise<number> {
    let freed = 0;
    for (const { digest, prefixBytes } of this.list()) {
      if (freed >= bytes) break;
      if (await this.remove(digest)) freed += prefixBytes;
    }
    return freed;
  }

  /** @returns whether it was there. */
  async remove(digest: Digest): Promise<boolean> {
    const partial = this.#kept.get(digest);
    if (partial === undefined) return false;
    this.#forget(partial);
    this.lost(partial);
    await this.#parts.store.removePartial(partial.file);
    return true;
  }

  #add(partial: KeptPartial): void {
    this.#kept.set(partial.digest, partial);
    this.#keptBytes += partial.prefixBytes;
  }

  #forget({ digest, prefixBytes }: KeptPartial): void {
    if (this.#kept.delete(digest)) this.#keptBytes -= prefixBytes;
  }

  #stop(digest: Digest): void {
    this.#running.get(digest)?.follower.close();
    this.#running.delete(digest);
    if (this.#running.size > 0) return;
    this.#cancelNote?.();
    this.#cancelNote = undefined;
  }

  #noteLater(): void {
    this.#cancelNote ??= this.#parts.clock.after(LOOK_MS, () => {
      this.#cancelNote = undefined;
      this.#note();
      if (this.#running.size > 0) this.#noteLater();
    });
  }

  /** The next time that it has grown by enough; whether a timer's turn comes at all then, nobody knows. */
  #watch({ ingest, follower }: Running, fromBytes: number): void {
    const dueBytes = fromBytes + Math.max(NOTED_BYTES, fromBytes * GROWN_SHARE);
    // What followers never see before the end is not waited for.
    if (dueBytes > follower.sizeBytes - BARRIER_BYTES) return;
    follower.wait(dueBytes - 1, () => {
      const running = this.#running.get(ingest.digest);
      if (running?.ingest !== ingest || follower.failure() !== undefined) return;
      this.#note();
      this.#watch(running, ingest.written().writtenBytes);
    });
  }

  /** Of all fills that went on since, in one transaction. */
  #note(): void {
    const now = this.#parts.clock.now();
    const grown = [...this.#running.values()]
      .map((running) => ({ running, written: running.ingest.written() }))
      .filter(({ running, written: { writtenBytes } }) => {
        const isDue = Math.abs(now - running.notedAt) >= NOTED_MS && writtenBytes > running.notedBytes;
        return writtenBytes >= KEPT_FROM_BYTES && (isDue || writtenBytes >= running.notedBytes + NOTED_BYTES);
      });
    if (grown.length === 0) return;
    const notes = grown.map(({ running: { place, ingest }, written }) => {
      const { digest, file, sizeBytes = 0 } = ingest;
      return { digest, file, place, sizeBytes, ...written };
    });
    if (!this.#put(notes, now)) return;
    for (const { running, written } of grown) {
      running.notedBytes = written.writtenBytes;
      running.notedAt = now;
    }
  }

  #put(notes: readonly PartialNote[], at: number): boolean {
    return (
      this.#record(() => {
        this.#parts.partials.put(notes, at);
        return true;
      }) ?? false
    );
  }

  /** Told once for a row of failures. */
  #record<T>(work: () => T): T | undefined {
    try {
      const done = work();
      this.#troubled = false;
      return done;
    } catch (cause) {
      if (!this.#troubled) {
        this.#parts.notices.emit("storageTrouble", { message: "what is fetched so far could not be noted", cause });
      }
      this.#troubled = true;
      return undefined;
    }
  }
}
