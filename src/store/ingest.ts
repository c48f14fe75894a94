/**
 * Writes one blob to a partial file: hash while writing, then verify, sync, make read-only, rename, sync the directory.
 *
 * Followers read the same file below the watermark, which is the end of what is written without a gap. The blob gets its
 * name only when it is verified; a partial file never outlives a failed ingest. Who hashes and writes is a `Pen`: for
 * bodies that of a thread, and for documents, and what is no larger, that of this loop.
 */
import { constants, fchmod, fdatasync, open as openFd, rename, rm } from "node:fs";
import { promisify } from "node:util";
import { Failure } from "../base/failure.ts";
import { algorithmOf, type Digest } from "../oci/digest.ts";
import { BARRIER_BYTES, type Ingest, type Lane } from "./blobstore.ts";
import type { EarlySync } from "./earlysync.ts";
import { Extents } from "./extents.ts";
import { type Follower, GrowingFollower, type Waiter, type Watched } from "./follower.ts";
import { SlabLane } from "./lane.ts";
import { OpenFile } from "./openfile.ts";
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

const openAsync = promisify(openFd);
const fchmodAsync = promisify(fchmod);
const fdatasyncAsync = promisify(fdatasync);
const renameAsync = promisify(rename);
const rmAsync = promisify(rm) as (path: string, options: { force: boolean }) => Promise<void>;

export interface IngestPaths {
  readonly partial: string;
  /** Creates the directory of the final name and returns that name. */
  final(): Promise<string>;
  /** Makes the new name durable. */
  syncDirectory(): Promise<void>;
}

/** What ingests share. */
export interface Desk {
  readonly scribe: Scribe;
  readonly earlySync: EarlySync;
}

export class DiskIngest implements Ingest, Watched {
  readonly digest: Digest;
  readonly #paths: IngestPaths;
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
  #earlySync: Promise<void> | undefined;
  /** Of documents. */
  #pendingBytes = 0;
  #verified = false;
  #failure: Error | undefined;
  #removed: Promise<void> | undefined;
  #drain: (() => void) | undefined;
  #onFailure: ((reason: Error) => void) | undefined;
  #closed = false;

  private constructor(digest: Digest, paths: IngestPaths, desk: Desk, fd: number) {
    this.digest = digest;
    this.#paths = paths;
    this.#desk = desk;
    this.#file = new OpenFile(fd, paths.partial);
  }

  static async open(digest: Digest, paths: IngestPaths, desk: Desk): Promise<DiskIngest> {
    const flags = constants.O_RDWR | constants.O_CREAT | constants.O_EXCL;
    try {
      return new DiskIngest(digest, paths, desk, await openAsync(paths.partial, flags, 0o600));
    } catch (cause) {
      throw storageFailure("cannot create a file in the cache directory", cause);
    }
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
    this.#wake();
    return { sizeBytes: this.#received, stored: this.#settle() };
  }

  onFailure(callback: (reason: Error) => void): void {
    this.#onFailure = callback;
  }

  async fail(reason: Error): Promise<void> {
    if (this.#verified) return;
    if (this.#failure === undefined) {
      this.#failure = reason;
      this.#wake();
      this.#removed = rmAsync(this.#paths.partial, { force: true }).catch(() => {});
      for (const lane of this.#lanes) lane.wake(true);
      this.#drained();
      this.#onFailure?.(reason);
    }
    await this.#removed;
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
    return this.#failure;
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

  /** Durable first, then named: a name never stands for bytes that a power cut could take back. */
  async #settle(): Promise<void> {
    try {
      await this.#earlySync;
      await fdatasyncAsync(this.#file.fd);
      await fchmodAsync(this.#file.fd, 0o444);
      await renameAsync(this.#paths.partial, await this.#paths.final());
      await this.#paths.syncDirectory();
    } catch (cause) {
      await rmAsync(this.#paths.partial, { force: true }).catch(() => {});
      throw storageFailure("cannot keep a blob in the cache directory", cause);
    }
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
    return new LoopPen(this.#file.fd, algorithmOf(this.digest), this.#asOwner());
  }

  #threadPen(): Pen {
    return this.#desk.scribe.open(this.#file.fd, algorithmOf(this.digest), this.#asOwner());
  }

  #asOwner(): PenOwner {
    return {
      done: (piece) => this.#done(piece),
      failed: (error) => void this.fail(error),
    };
  }

  /** A piece of a lane. What goes wrong is told by the next bytes. */
  #put(piece: Piece, isTiny: boolean): void {
    try {
      if (this.#failure === undefined) this.#pen ??= isTiny ? this.#loopPen() : this.#threadPen();
    } catch (error) {
      void this.fail(storageFailure("cannot write to the cache directory", error));
    }
    if (this.#failure === undefined && this.#pen !== undefined) this.#pen.write(piece);
    else piece.from?.done(piece);
  }

  #done(piece: Piece): void {
    const { length } = piece.bytes;
    if (this.#failure === undefined) {
      this.#written.add(piece.at, piece.at + length);
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
    running.catch((cause) => this.fail(storageFailure("cannot write to the cache directory", cause)));
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
