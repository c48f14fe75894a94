/**
 * Writes one blob to a partial file: hash while writing, then verify, sync, make read-only, rename, sync the directory.
 *
 * Followers read the same file below the watermark, which is the end of what is written without a gap. The blob gets its
 * name only when it is verified; a partial file outlives an ingest only where that was suspended. Who hashes and writes
 * is a `Pen`: for bodies that of a thread, and for documents, and what is no larger, that of this loop.
 */
import { Failure, isFailure } from "../base/failure.ts";
import { algorithmOf, type Digest } from "../oci/digest.ts";
import { BARRIER_BYTES, type Ingest, type Lane, type Written } from "./blobstore.ts";
import type { Condemned } from "./condemned.ts";
import type { EarlySync } from "./earlysync.ts";
import { Extents } from "./extents.ts";
import type { Files } from "./files.ts";
import { type Follower, GrowingFollower, type Waiter, type Watched } from "./follower.ts";
import { SlabLane } from "./lane.ts";
import { settleFile } from "./naming.ts";
import { OpenFile } from "./openfile.ts";
import type { PartialFile } from "./partials.ts";
import { LoopPen, type Pen, type PenOwner, type Piece } from "./pen.ts";
import type { Scribe } from "./scribe.ts";
import { LARGE_BYTES, type Slab } from "./slabs.ts";
import { storageFailure } from "./trouble.ts";

/** How much of a document may wait for the disk. */
const HIGH_WATER_BYTES = 512 * 1024;
/** A blob is put to the disk as it grows by so much. */
const SYNC_EVERY_BYTES = 64 * 1024 * 1024;
/** Large slabs that one ingest may hold. */
const MAX_LARGE = 4;

/** The file of an ingest, open, and where it goes. */
export interface IngestPlace extends PartialFile {
  readonly incoming: string;
  /** Of what was taken up. */
  readonly sizeBytes: number | undefined;
  /** Creates the directory of the final name and returns that name. */
  final(): Promise<string>;
  /** Called once the file has its name, is gone, or is left where it is. */
  ended(): void;
}

/** What ingests share. */
export interface Desk {
  readonly files: Files;
  readonly scribe: Scribe;
  readonly earlySync: EarlySync;
  /** What was stored may be found damaged while followers of its ingest still read. */
  readonly condemned: Condemned;
}

export class DiskIngest implements Ingest, Watched {
  readonly digest: Digest;
  readonly #place: IngestPlace;
  readonly #desk: Desk;
  readonly #file: OpenFile;
  readonly #waiters = new Set<Waiter>();
  readonly #written = new Extents();
  readonly #lanes = new Set<SlabLane>();
  #pen: Pen | undefined;
  #sizeBytes: number | undefined;
  #received = 0;
  #largeSlabs = 0;
  #unsyncedBytes = 0;
  #syncedBytes = 0;
  #earlySync: Promise<void> | undefined;
  /** Of documents. */
  #pendingBytes = 0;
  #verified = false;
  #verifiedAt = 0;
  #failure: Error | undefined;
  /** When nothing of it is left, or all that is kept. */
  #removed: Promise<Written | undefined> | undefined;
  #keeping = false;
  /** The disk failed after it was suspended. */
  #spoilt = false;
  #drain: (() => void) | undefined;
  #onFailure: ((reason: Error) => void) | undefined;
  #closed = false;

  /** Takes over the descriptor. */
  constructor(digest: Digest, place: IngestPlace, desk: Desk) {
    this.digest = digest;
    this.#place = place;
    this.#desk = desk;
    this.#file = new OpenFile(place.fd, place.path);
    this.#sizeBytes = place.sizeBytes;
    this.#received = place.prefixBytes;
    this.#written.add(0, place.prefixBytes);
  }

  get file(): string {
    return this.#place.name;
  }

  get receivedBytes(): number {
    return this.#received;
  }

  get sizeBytes(): number | undefined {
    return this.#sizeBytes;
  }

  declareSize(sizeBytes: number): void {
    if (this.#sizeBytes !== undefined && this.#sizeBytes !== sizeBytes) {
      throw new Failure(
        "corrupt",
        `the upstream changed its mind about the size: ${this.#sizeBytes}, now ${sizeBytes}`,
      );
    }
    this.#sizeBytes = sizeBytes;
  }

  write(chunk: Uint8Array): boolean {
    const at = this.#received;
    this.#took(chunk.length);
    this.#pendingBytes += chunk.length;
    this.#pen ??= this.#loopPen();
    this.#pen.write({ bytes: chunk, at, from: undefined });
    return this.#pendingBytes < HIGH_WATER_BYTES;
  }

  onDrain(callback: () => void): void {
    this.#drain = callback;
  }

  lane(start: number, end = this.#sizeBytes ?? Number.POSITIVE_INFINITY): Lane {
    // What was there before is hashed while the rest comes.
    if (this.#place.prefixBytes > 0) this.#startPen(false);
    const isWhole = start === 0 && end === this.#sizeBytes;
    const isTiny = isWhole && end <= BARRIER_BYTES;
    const { slabs } = this.#desk.scribe;
    const lane: SlabLane = new SlabLane(
      {
        isTiny,
        took: (count) => this.#took(count),
        takeSmall: () => slabs.takeSmall(),
        findLarge: () => this.#findLarge(),
        giveBack: (slab) => {
          if (slab.bytes.length === LARGE_BYTES) this.#largeSlabs -= 1;
          slabs.giveBack(slab);
        },
        write: (piece) => this.#put(piece, isTiny),
        closed: () => this.#lanes.delete(lane),
      },
      start,
      end,
    );
    this.#lanes.add(lane);
    return lane;
  }

  async finish(): Promise<{ sizeBytes: number; stored: Promise<void> }> {
    if (this.#failure !== undefined) throw this.#failure;
    if (this.#sizeBytes !== undefined && this.#received !== this.#sizeBytes) {
      throw new Failure("corrupt", `the upstream sent ${this.#received} of ${this.#sizeBytes} bytes`);
    }
    for (const lane of this.#lanes) lane.flush();
    if (this.#place.prefixBytes > 0) this.#startPen(false);
    if (this.#failure !== undefined) throw this.#failure;
    this.#pen ??= this.#loopPen();
    const found = await this.#pen.finish();
    if (this.#failure !== undefined) throw this.#failure;
    if (found !== this.digest) {
      throw new Failure("corrupt", `the upstream sent other content: ${found}`, {
        detail: { expected: this.digest, found },
      });
    }
    if (this.#written.prefix !== this.#received) throw new Error("verified with a gap");
    this.#sizeBytes = this.#received;
    this.#verified = true;
    this.#verifiedAt = this.#desk.condemned.now;
    this.#wake();
    return { sizeBytes: this.#received, stored: this.#settle() };
  }

  onFailure(callback: (reason: Error) => void): void {
    this.#onFailure = callback;
  }

  async fail(reason: Error): Promise<void> {
    if (this.#verified) return;
    if (this.#failure === undefined) this.#end(reason, () => this.#remove());
    else this.#spoilt ||= isFailure(reason, "storage");
    await this.#removed;
  }

  async suspend(reason: Error): Promise<Written | undefined> {
    if (this.#verified) return undefined;
    // What a loop's pen has not written yet, it never will.
    const isKept = !(this.#pen instanceof LoopPen);
    if (this.#failure === undefined) this.#end(reason, () => (isKept ? this.#keep() : this.#remove()));
    return await this.#removed;
  }

  written(): Written {
    return { writtenBytes: this.#written.prefix, syncedBytes: this.#syncedBytes };
  }

  follow(onClose: () => void): Follower {
    if (this.#sizeBytes === undefined) throw new Error("followed before its size was known");
    return new GrowingFollower(this.digest, this.#sizeBytes, this.#file.retain(), this, onClose);
  }

  visible(): number {
    const written = this.#written.prefix;
    if (this.#verified) return written;
    if (this.#sizeBytes === undefined) return 0;
    return Math.max(0, Math.min(written, this.#sizeBytes - BARRIER_BYTES));
  }

  failure(): Error | undefined {
    return this.#verified ? this.#desk.condemned.find(this.digest, this.#verifiedAt) : this.#failure;
  }

  watch(waiter: Waiter): void {
    this.#waiters.add(waiter);
  }

  unwatch(waiter: Waiter): void {
    this.#waiters.delete(waiter);
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    for (const lane of this.#lanes) lane.close();
    // A write that still runs uses the descriptor until its pen has ended.
    const file = this.#file;
    if (this.#pen === undefined) file.release();
    else void this.#pen.end().then(() => file.release());
  }

  async #settle(): Promise<void> {
    const { path: partial, incoming, final } = this.#place;
    try {
      // What the disk has told once, it will not tell again.
      await this.#earlySync?.catch(async (cause) => {
        await this.#remove();
        throw cause;
      });
      await settleFile(this.#desk.files, this.#file.fd, { partial, incoming, final });
    } catch (cause) {
      throw storageFailure("cannot keep a blob in the cache directory", cause);
    } finally {
      this.#place.ended();
    }
  }

  #end(reason: Error, leave: () => Promise<Written | undefined>): void {
    this.#failure = reason;
    this.#wake();
    this.#removed = leave().finally(() => this.#place.ended());
    for (const lane of this.#lanes) lane.wake(true);
    this.#drained();
    this.#onFailure?.(reason);
  }

  async #remove(): Promise<undefined> {
    await this.#desk.files.unlink(this.#place.path).catch(() => {});
  }

  /** Nothing is kept that the disk has not taken. */
  async #keep(): Promise<Written | undefined> {
    this.#keeping = true;
    const { files } = this.#desk;
    const file = this.#file.retain();
    try {
      await this.#pen?.end();
      await this.#earlySync;
      const writtenBytes = this.#written.prefix;
      if (writtenBytes === 0) return await this.#remove();
      await files.ftruncate(file.fd, writtenBytes);
      await files.fdatasync(file.fd);
      if (!this.#spoilt) return { writtenBytes, syncedBytes: writtenBytes };
    } catch {
      // Told below, as nothing.
    } finally {
      file.release();
    }
    return await this.#remove();
  }

  #took(count: number): void {
    if (this.#failure !== undefined) throw this.#failure;
    this.#received += count;
    if (this.#sizeBytes !== undefined && this.#received > this.#sizeBytes) {
      throw new Failure("corrupt", `the upstream sent more than the ${this.#sizeBytes} bytes it announced`);
    }
  }

  #findLarge(): Slab | undefined {
    if (this.#largeSlabs >= MAX_LARGE) return undefined;
    const slab = this.#desk.scribe.slabs.findLarge();
    if (slab !== undefined) this.#largeSlabs += 1;
    return slab;
  }

  #loopPen(): Pen {
    return new LoopPen(this.#desk.files, this.#file.fd, algorithmOf(this.digest), this.#asOwner());
  }

  #threadPen(): Pen {
    const { prefixBytes } = this.#place;
    return this.#desk.scribe.open(this.#file.fd, algorithmOf(this.digest), this.#asOwner(), prefixBytes);
  }

  #startPen(isTiny: boolean): void {
    try {
      if (this.#failure === undefined) this.#pen ??= isTiny ? this.#loopPen() : this.#threadPen();
    } catch (error) {
      void this.fail(storageFailure("cannot write to the cache directory", error));
    }
  }

  #asOwner(): PenOwner {
    return {
      done: (piece) => this.#done(piece),
      failed: (error) => void this.fail(error),
    };
  }

  /** A piece of a lane. What goes wrong is told by the next bytes. */
  #put(piece: Piece, isTiny: boolean): void {
    this.#startPen(isTiny);
    if (this.#failure === undefined && this.#pen !== undefined) this.#pen.write(piece);
    else piece.from?.done(piece);
  }

  #done(piece: Piece): void {
    const { length } = piece.bytes;
    // What is suspended is written to its end.
    if (this.#failure === undefined || this.#keeping) this.#written.add(piece.at, piece.at + length);
    if (this.#failure === undefined) {
      this.#unsyncedBytes += length;
      if (this.#unsyncedBytes >= SYNC_EVERY_BYTES) this.#syncEarly();
      this.#wake();
    }
    if (piece.from !== undefined) {
      piece.from.done(piece);
      return;
    }
    this.#pendingBytes -= length;
    if (this.#pendingBytes <= HIGH_WATER_BYTES / 2) this.#drained();
  }

  #syncEarly(): void {
    const running = this.#desk.earlySync.start(this.#file);
    if (running === undefined) return;
    this.#unsyncedBytes = 0;
    this.#earlySync = running;
    const { prefix } = this.#written;
    const synced = running.then(() => {
      this.#syncedBytes = prefix;
    });
    synced.catch((cause) => this.fail(storageFailure("cannot write to the cache directory", cause)));
  }

  #drained(): void {
    const drain = this.#drain;
    this.#drain = undefined;
    drain?.();
  }

  #wake(): void {
    const visible = this.visible();
    for (const waiter of this.#waiters) {
      if (visible > waiter.position || this.#failure !== undefined) {
        this.#waiters.delete(waiter);
        waiter.wake();
      }
    }
  }
}
