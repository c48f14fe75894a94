/**
 * Writes one blob to a partial file: hash while writing, then verify, sync, make read-only, rename, sync the directory.
 *
 * Followers read the same file below the watermark. The blob gets its name only when it is verified; a partial file
 * never outlives a failed ingest. At most `HIGH_WATER_BYTES` wait for the disk.
 */
import { createHash, type Hash } from "node:crypto";
import { constants, fchmod, fdatasync, open as openFd, rename, rm, writev } from "node:fs";
import { promisify } from "node:util";
import { Failure, isFailure, messageOf } from "../base/failure.ts";
import { algorithmOf, type Digest, finishDigest } from "../oci/digest.ts";
import { BARRIER_BYTES, type Ingest } from "./blobstore.ts";
import { type Follower, GrowingFollower, type Waiter, type Watched } from "./follower.ts";
import { OpenFile } from "./openfile.ts";

/**
 * How much may wait for the disk. It also bounds how much is hashed in one go, while nobody else is answered; and at the
 * beginning, when the first reader waits for the first byte, it is one chunk.
 */
const HIGH_WATER_BYTES = 512 * 1024;
const START_BYTES = 512 * 1024;
const START_WATER_BYTES = 1;
/** Linux takes at most 1024 buffers a call. */
const MAX_BUFFERS = 512;

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

export class DiskIngest implements Ingest, Watched {
  readonly digest: Digest;
  readonly #paths: IngestPaths;
  readonly #file: OpenFile;
  readonly #hash: Hash;
  readonly #waiters = new Set<Waiter>();
  #sizeBytes: number | undefined;
  #received = 0;
  #written = 0;
  #pending: Buffer[] = [];
  #pendingBytes = 0;
  #writing = false;
  #verified = false;
  #failure: Error | undefined;
  #removed: Promise<void> | undefined;
  #drain: (() => void) | undefined;
  #flushed: (() => void) | undefined;
  #closed = false;

  private constructor(digest: Digest, paths: IngestPaths, fd: number) {
    this.digest = digest;
    this.#paths = paths;
    this.#file = new OpenFile(fd);
    this.#hash = createHash(algorithmOf(digest));
  }

  static async open(digest: Digest, paths: IngestPaths): Promise<DiskIngest> {
    const flags = constants.O_RDWR | constants.O_CREAT | constants.O_EXCL;
    try {
      return new DiskIngest(digest, paths, await openAsync(paths.partial, flags, 0o600));
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

  write(chunk: Buffer): boolean {
    if (this.#failure !== undefined) throw this.#failure;
    this.#received += chunk.length;
    if (this.#sizeBytes !== undefined && this.#received > this.#sizeBytes) {
      throw new Failure("corrupt", `the upstream sent more than the ${this.#sizeBytes} bytes it announced`);
    }
    this.#hash.update(chunk);
    this.#pending.push(chunk);
    this.#pendingBytes += chunk.length;
    if (!this.#writing) this.#flush();
    return this.#pendingBytes < this.#highWater();
  }

  onDrain(callback: () => void): void {
    this.#drain = callback;
  }

  async finish(): Promise<{ sizeBytes: number; stored: Promise<void> }> {
    if (this.#sizeBytes !== undefined && this.#received !== this.#sizeBytes) {
      throw new Failure("corrupt", `the upstream sent ${this.#received} of ${this.#sizeBytes} bytes`);
    }
    if (this.#writing) await new Promise<void>((resolve) => (this.#flushed = resolve));
    if (this.#failure !== undefined) throw this.#failure;
    const found = finishDigest(algorithmOf(this.digest), this.#hash);
    if (found !== this.digest) {
      throw new Failure("corrupt", `the upstream sent other content: ${found}`, {
        detail: { expected: this.digest, found },
      });
    }
    this.#sizeBytes = this.#received;
    this.#verified = true;
    this.#wake();
    return { sizeBytes: this.#received, stored: this.#settle() };
  }

  async fail(reason: Error): Promise<void> {
    if (this.#verified) return;
    if (this.#failure === undefined) {
      this.#failure = reason;
      this.#pending = [];
      this.#wake();
      this.#removed = rmAsync(this.#paths.partial, { force: true }).catch(() => {});
    }
    await this.#removed;
  }

  follow(onClose: () => void): Follower {
    if (this.#sizeBytes === undefined) throw new Error("followed before its size was known");
    return new GrowingFollower(this.digest, this.#sizeBytes, this.#file.retain(), this, onClose);
  }

  visible(): number {
    if (this.#verified) return this.#written;
    if (this.#sizeBytes === undefined) return 0;
    return Math.max(0, Math.min(this.#written, this.#sizeBytes - BARRIER_BYTES));
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
    // A write that still runs uses the descriptor until its callback.
    if (this.#writing) this.#flushed = () => this.#file.release();
    else this.#file.release();
  }

  /** Durable first, then named: a name never stands for bytes that a power cut could take back. */
  async #settle(): Promise<void> {
    try {
      await fdatasyncAsync(this.#file.fd);
      await fchmodAsync(this.#file.fd, 0o444);
      await renameAsync(this.#paths.partial, await this.#paths.final());
      await this.#paths.syncDirectory();
    } catch (cause) {
      await rmAsync(this.#paths.partial, { force: true }).catch(() => {});
      throw storageFailure("cannot keep a blob in the cache directory", cause);
    }
  }

  #highWater(): number {
    return this.#written < START_BYTES ? START_WATER_BYTES : HIGH_WATER_BYTES;
  }

  #flush(): void {
    const batch = this.#pending.length <= MAX_BUFFERS ? this.#pending : this.#pending.slice(0, MAX_BUFFERS);
    this.#pending = this.#pending.length <= MAX_BUFFERS ? [] : this.#pending.slice(MAX_BUFFERS);
    this.#writing = true;
    this.#writeAll(batch);
  }

  #writeAll(batch: Buffer[]): void {
    const total = batch.reduce((sum, buffer) => sum + buffer.length, 0);
    writev(this.#file.fd, batch, this.#written, (error, count) => {
      if (error !== null) {
        this.#afterFlush(storageFailure("cannot write to the cache directory", error));
        return;
      }
      this.#written += count;
      this.#pendingBytes -= count;
      if (count < total && this.#failure === undefined) {
        // A short count: the disk is filling up, or a signal came. The rest either goes or tells why not.
        this.#writeAll(dropBytes(batch, count));
        return;
      }
      this.#afterFlush(undefined);
    });
  }

  #afterFlush(error: Failure | undefined): void {
    this.#writing = false;
    if (error !== undefined) void this.fail(error);
    if (this.#failure === undefined && this.#pending.length > 0) this.#flush();
    if (error === undefined) this.#wake();
    const drain = this.#drain;
    if (drain !== undefined && (this.#failure !== undefined || this.#pendingBytes <= this.#highWater() / 2)) {
      this.#drain = undefined;
      drain();
    }
    if (!this.#writing) {
      const flushed = this.#flushed;
      this.#flushed = undefined;
      flushed?.();
    }
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

function dropBytes(buffers: Buffer[], count: number): Buffer[] {
  let skip = count;
  const rest: Buffer[] = [];
  for (const buffer of buffers) {
    if (skip >= buffer.length) skip -= buffer.length;
    else {
      rest.push(skip === 0 ? buffer : buffer.subarray(skip));
      skip = 0;
    }
  }
  return rest;
}

export function storageFailure(message: string, cause: unknown): Failure {
  if (isFailure(cause)) return cause;
  return new Failure("storage", `${message}: ${messageOf(cause)}`, { cause });
}
