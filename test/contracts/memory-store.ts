/**
 * A blob store without a name in any file system: bytes lie in files that were unlinked when they were made, in memory
 * where the machine has a file system there. It writes one turn of the event loop behind, so that whoever must wait does.
 */
import { existsSync, openSync, readSync, unlinkSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Failure } from "../../src/base/failure.ts";
import { algorithmOf, type Digest, digestOf } from "../../src/oci/digest.ts";
import {
  BARRIER_BYTES,
  type BlobStore,
  type Ingest,
  type Kept,
  type Lane,
  type Written,
} from "../../src/store/blobstore.ts";
import { Extents } from "../../src/store/extents.ts";
import { type Follower, GrowingFollower, StoredFollower, type Waiter, type Watched } from "../../src/store/follower.ts";
import { OpenFile } from "../../src/store/openfile.ts";

const PLACE = existsSync("/dev/shm") ? "/dev/shm" : tmpdir();
const HIGH_WATER_BYTES = 1024 * 1024;
const LANE_BYTES = 64 * 1024;
let serial = 0;

interface Stored {
  readonly file: OpenFile;
  readonly sizeBytes: number;
}

export class MemoryStore implements BlobStore {
  /** Part of the name of every file of this store. */
  readonly mark = `wharfinger-memory-${process.pid}-${++serial}`;
  readonly #blobs = new Map<Digest, Stored>();
  readonly #unended = new Set<MemoryIngest>();
  readonly #kept = new Map<string, { readonly file: OpenFile; readonly bytes: number }>();

  /** Writes that have neither been stored nor failed. */
  get unended(): number {
    return this.#unended.size;
  }

  has(digest: Digest): boolean {
    return this.#blobs.has(digest);
  }

  async open(digest: Digest): Promise<Follower | undefined> {
    const stored = this.#blobs.get(digest);
    return stored === undefined ? undefined : new StoredFollower(digest, stored.sizeBytes, stored.file.retain());
  }

  async read(digest: Digest, limitBytes: number): Promise<Buffer | undefined> {
    const stored = this.#blobs.get(digest);
    if (stored === undefined) return undefined;
    if (stored.sizeBytes > limitBytes) throw new Failure("storage", `${digest} is larger than ${limitBytes} bytes`);
    const bytes = Buffer.alloc(stored.sizeBytes);
    if (bytes.length > 0) readSync(stored.file.fd, bytes, 0, bytes.length, 0);
    return bytes;
  }

  async ingest(digest: Digest, kept?: Kept): Promise<Ingest> {
    const found = kept === undefined ? undefined : this.#kept.get(kept.file);
    if (kept !== undefined) this.#kept.delete(kept.file);
    const isTaken = found !== undefined && kept !== undefined && kept.prefixBytes <= found.bytes;
    if (!isTaken) found?.file.release();
    const name = isTaken ? kept.file : `${this.mark}-${++serial}`;
    const before = isTaken ? kept : undefined;
    const ingest: MemoryIngest = new MemoryIngest(digest, name, isTaken ? found.file : openNew(name), before, {
      keep: (file, bytes) => this.#kept.set(name, { file, bytes }),
      store: (stored) => {
        this.#blobs.get(digest)?.file.release();
        this.#blobs.set(digest, stored);
      },
      end: () => this.#unended.delete(ingest),
    });
    this.#unended.add(ingest);
    return ingest;
  }

  async partials(): Promise<string[]> {
    return [...this.#kept.keys()];
  }

  async removePartial(file: string): Promise<void> {
    this.#kept.get(file)?.file.release();
    this.#kept.delete(file);
  }

  async remove(digest: Digest): Promise<void> {
    this.#blobs.get(digest)?.file.release();
    this.#blobs.delete(digest);
  }

  async freeBytes(): Promise<number> {
    return 2 ** 40;
  }

  /** Lets go of everything that is stored. */
  clear(): void {
    for (const { file } of [...this.#blobs.values(), ...this.#kept.values()]) file.release();
    this.#blobs.clear();
    this.#kept.clear();
  }
}

function openNew(name: string): OpenFile {
  const path = join(PLACE, name);
  const fd = openSync(path, "wx+", 0o600);
  unlinkSync(path);
  return new OpenFile(fd);
}

interface Home {
  keep(file: OpenFile, bytes: number): void;
  store(stored: Stored): void;
  end(): void;
}

class MemoryIngest implements Ingest, Watched {
  readonly digest: Digest;
  readonly file: string;
  readonly #file: OpenFile;
  readonly #home: Home;
  readonly #waiters = new Set<Waiter>();
  #sizeBytes: number | undefined;
  #received = 0;
  readonly #written = new Extents();
  #documents = false;
  readonly #drains: (() => void)[] = [];
  #pendingBytes = 0;
  #pending: { readonly at: number; readonly chunk: Buffer }[] = [];
  #verified = false;
  #failure: Error | undefined;
  #onFailure: ((reason: Error) => void) | undefined;
  #closed = false;

  constructor(digest: Digest, name: string, file: OpenFile, kept: Kept | undefined, home: Home) {
    this.digest = digest;
    this.file = name;
    this.#sizeBytes = kept?.sizeBytes;
    this.#received = kept?.prefixBytes ?? 0;
    this.#written.add(0, this.#received);
    this.#file = file;
    this.#home = home;
  }

  get receivedBytes(): number {
    return this.#received;
  }

  get sizeBytes(): number | undefined {
    return this.#sizeBytes;
  }

  declareSize(sizeBytes: number): void {
    if (this.#sizeBytes !== undefined && this.#sizeBytes !== sizeBytes) {
      throw new Failure("corrupt", `another size: ${this.#sizeBytes}, now ${sizeBytes}`);
    }
    this.#sizeBytes = sizeBytes;
  }

  write(chunk: Buffer): boolean {
    this.#documents = true;
    return this.#put(this.#received, chunk);
  }

  onDrain(callback: () => void): void {
    this.#drains.push(callback);
  }

  lane(start: number, end = this.#sizeBytes ?? Number.POSITIVE_INFINITY): Lane {
    const ingest = this;
    const space = Buffer.alloc(LANE_BYTES);
    let position = start;
    return {
      get position() {
        return position;
      },
      get isFull() {
        return position >= end;
      },
      space: () => (position < end ? space.subarray(0, end - position) : space),
      filled(count) {
        if (position + count > end) throw new Failure("corrupt", "too many bytes");
        const at = position;
        position += count;
        return ingest.#put(at, Buffer.from(space.subarray(0, count)));
      },
      onDrain: (callback) => ingest.#drains.push(callback),
      close() {},
    };
  }

  async finish(): Promise<{ sizeBytes: number; stored: Promise<void> }> {
    if (this.#failure !== undefined) throw this.#failure;
    if (this.#sizeBytes !== undefined && this.#received !== this.#sizeBytes)
      throw new Failure("corrupt", "too few bytes");
    this.#flush();
    const whole = Buffer.alloc(this.#received);
    if (whole.length > 0) readSync(this.#file.fd, whole, 0, whole.length, 0);
    const found = digestOf(whole, algorithmOf(this.digest));
    if (found !== this.digest) {
      throw new Failure("corrupt", `other content: ${found}`, { detail: { expected: this.digest, found } });
    }
    this.#sizeBytes = this.#received;
    this.#verified = true;
    this.#home.store({ file: this.#file.retain(), sizeBytes: this.#received });
    this.#home.end();
    this.#wake();
    return { sizeBytes: this.#received, stored: Promise.resolve() };
  }

  onFailure(callback: (reason: Error) => void): void {
    this.#onFailure = callback;
  }

  async fail(reason: Error): Promise<void> {
    if (this.#verified || this.#failure !== undefined) return;
    this.#failure = reason;
    this.#pending = [];
    this.#home.end();
    this.#wake();
    for (const drain of this.#drains.splice(0)) drain();
    this.#onFailure?.(reason);
  }

  async suspend(reason: Error): Promise<Written | undefined> {
    if (this.#verified || this.#failure !== undefined) return undefined;
    if (!this.#documents) this.#flush();
    const { prefix } = this.#written;
    const isKept = prefix > 0 && !this.#documents;
    if (isKept) this.#home.keep(this.#file.retain(), prefix);
    await this.fail(reason);
    return isKept ? { writtenBytes: prefix, syncedBytes: prefix } : undefined;
  }

  written(): Written {
    return { writtenBytes: this.#written.prefix, syncedBytes: 0 };
  }

  follow(onClose: () => void): Follower {
    if (this.#sizeBytes === undefined) throw new Error("followed before its size was known");
    return new GrowingFollower(this.digest, this.#sizeBytes, this.#file.retain(), this, onClose);
  }

  visible(): number {
    if (this.#verified) return this.#written.prefix;
    if (this.#sizeBytes === undefined) return 0;
    return Math.max(0, Math.min(this.#written.prefix, this.#sizeBytes - BARRIER_BYTES));
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
    this.#file.release();
  }

  #put(at: number, chunk: Buffer): boolean {
    if (this.#failure !== undefined) throw this.#failure;
    this.#received += chunk.length;
    if (this.#sizeBytes !== undefined && this.#received > this.#sizeBytes)
      throw new Failure("corrupt", "too many bytes");
    if (this.#pending.length === 0) setImmediate(() => this.#flush());
    this.#pending.push({ at, chunk });
    this.#pendingBytes += chunk.length;
    return this.#pendingBytes < HIGH_WATER_BYTES;
  }

  #flush(): void {
    if (this.#closed) return;
    this.#pendingBytes = 0;
    for (const { at, chunk } of this.#pending.splice(0)) {
      for (let from = 0; from < chunk.length; ) {
        from += writeSync(this.#file.fd, chunk, from, chunk.length - from, at + from);
      }
      this.#written.add(at, at + chunk.length);
    }
    this.#wake();
    for (const drain of this.#drains.splice(0)) drain();
  }

  #wake(): void {
    const visible = this.visible();
    for (const waiter of this.#waiters) {
      if (visible <= waiter.position && this.#failure === undefined) continue;
      this.#waiters.delete(waiter);
      waiter.wake();
    }
  }
}
