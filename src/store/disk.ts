/**
 * Blobs as files: `blobs/<algorithm>/<first two hex>/<hex>`, written in `partial/` beside them.
 *
 * A file under `blobs/` is complete, verified and read-only. What lies in `partial/` at start-up belongs to no one and
 * is removed. Paths are made of parsed digests only.
 */
import { close, constants, existsSync, fstat, fsync, open as openFd, read as readFd, renameSync } from "node:fs";
import { mkdir, readdir, rm, statfs } from "node:fs/promises";
import { dirname, join } from "node:path";
import { promisify } from "node:util";
import { errnoOf, Failure } from "../base/failure.ts";
import { algorithmOf, type Digest, hexOf } from "../oci/digest.ts";
import type { BlobStore, Ingest } from "./blobstore.ts";
import { EarlySync } from "./earlysync.ts";
import { type Follower, StoredFollower } from "./follower.ts";
import { HotFiles, type SizedFile } from "./hotfiles.ts";
import { type Desk, DiskIngest } from "./ingest.ts";
import { OpenFile } from "./openfile.ts";
import { Scribe } from "./scribe.ts";
import { storageFailure } from "./trouble.ts";

const openAsync = promisify(openFd);
const fstatAsync = promisify(fstat);
const fsyncAsync = promisify(fsync);

export class DiskStore implements BlobStore {
  readonly #blobs: string;
  readonly #partials: string;
  readonly #madeDirectories = new Set<string>();
  readonly #hot = new HotFiles();
  readonly #desk: Desk;
  /** How many readers in this process have each stored blob open. */
  readonly #readers = new Map<Digest, number>();
  #serial = 0;

  private constructor(root: string, scribe: Scribe) {
    this.#desk = { scribe, earlySync: new EarlySync() };
    this.#blobs = join(root, "blobs");
    this.#partials = join(root, "partial");
  }

  /**
   * Makes the directories and removes leftovers of an earlier run.
   * @throws Failure `storage` where the directory cannot be written.
   */
  static async open(root: string, scribe = new Scribe()): Promise<DiskStore> {
    const store = new DiskStore(root, scribe);
    try {
      await mkdir(store.#blobs, { recursive: true });
      await mkdir(store.#partials, { recursive: true });
      for (const name of await readdir(store.#partials)) {
        await rm(join(store.#partials, name), { force: true, recursive: true });
      }
      // Permission bits tell little (root, read-only mounts, quotas): writing does.
      const probe = join(store.#partials, "probe");
      close(await openAsync(probe, "wx"), () => {});
      await rm(probe);
    } catch (cause) {
      throw storageFailure(`the cache directory ${root} cannot be written`, cause);
    }
    return store;
  }

  /** For a process that reads what another one keeps there: nothing is made and nothing removed. */
  static reader(root: string): DiskStore {
    return new DiskStore(root, new Scribe());
  }

  has(digest: Digest): boolean {
    return existsSync(this.pathOf(digest));
  }

  /**
   * @param sizeBytes how large it is by the index, where that knows it. Only such a file is kept open, and only as that
   *   is one taken from there: what was damaged or replaced must not outlive its removal in a descriptor.
   */
  async open(digest: Digest, sizeBytes?: number): Promise<Follower | undefined> {
    const opened = this.#findHot(digest, sizeBytes) ?? (await this.#open(digest));
    if (opened === undefined) return undefined;
    if (opened.sizeBytes === sizeBytes) this.#hot.note(digest, opened);
    this.#readers.set(digest, (this.#readers.get(digest) ?? 0) + 1);
    return new StoredFollower(digest, opened.sizeBytes, opened.file, () => this.#closed(digest));
  }

  /** Whether somebody in this process is reading it. */
  isOpen(digest: Digest): boolean {
    return this.#readers.has(digest);
  }

  #closed(digest: Digest): void {
    const left = (this.#readers.get(digest) ?? 1) - 1;
    if (left > 0) this.#readers.set(digest, left);
    else this.#readers.delete(digest);
  }

  #findHot(digest: Digest, sizeBytes: number | undefined): SizedFile | undefined {
    if (sizeBytes === undefined) return undefined;
    const hot = this.#hot.find(digest);
    if (hot === undefined || hot.sizeBytes === sizeBytes) return hot;
    hot.file.release();
    this.#hot.drop(digest);
    return undefined;
  }

  async #open(digest: Digest): Promise<SizedFile | undefined> {
    let fd: number;
    try {
      // Not blocking: something that is no file might otherwise hold the thread.
      fd = await openAsync(this.pathOf(digest), constants.O_RDONLY | constants.O_NONBLOCK);
    } catch (cause) {
      if (errnoOf(cause) === "ENOENT") return undefined;
      throw storageFailure("cannot open a stored blob", cause);
    }
    const file = new OpenFile(fd);
    try {
      const stats = await fstatAsync(fd);
      if (!stats.isFile()) throw new Failure("storage", `${this.pathOf(digest)} is not a file`);
      return { file, sizeBytes: stats.size };
    } catch (cause) {
      file.release();
      throw storageFailure("cannot read a stored blob", cause);
    }
  }

  async read(digest: Digest, limitBytes: number): Promise<Buffer | undefined> {
    const opened = await this.#open(digest);
    if (opened === undefined) return undefined;
    const reader = new StoredFollower(digest, opened.sizeBytes, opened.file);
    try {
      if (reader.sizeBytes > limitBytes) throw new Failure("storage", `${digest} is larger than ${limitBytes} bytes`);
      return await readAll(reader);
    } finally {
      reader.close();
    }
  }

  async ingest(digest: Digest): Promise<Ingest> {
    this.#serial += 1;
    const partial = join(this.#partials, `${algorithmOf(digest)}-${hexOf(digest)}.${this.#serial}`);
    const directory = this.#directoryOf(digest);
    const paths = {
      partial,
      final: async () => {
        await this.#make(directory);
        return this.pathOf(digest);
      },
      syncDirectory: () => syncDirectory(directory),
    };
    return await DiskIngest.open(digest, paths, this.#desk);
  }

  async remove(digest: Digest): Promise<void> {
    this.#hot.drop(digest);
    try {
      await rm(this.pathOf(digest), { force: true });
    } catch (cause) {
      throw storageFailure("cannot remove a stored blob", cause);
    }
  }

  /**
   * Removes a stored blob: its name is gone when this returns, so that it is never taken from under one that is stored
   * anew; its space, which may take long to be given back, when the promise resolves.
   */
  discard(digest: Digest): Promise<void> {
    this.#hot.drop(digest);
    this.#serial += 1;
    const aside = join(this.#partials, `discarded.${this.#serial}`);
    try {
      renameSync(this.pathOf(digest), aside);
    } catch (cause) {
      // Another device, perhaps; what it is, removing tells.
      return errnoOf(cause) === "ENOENT" ? Promise.resolve() : this.remove(digest);
    }
    return rm(aside, { force: true }).catch((cause: unknown) => {
      throw storageFailure("cannot remove a stored blob", cause);
    });
  }

  async freeBytes(): Promise<number> {
    try {
      const { bavail, bsize } = await statfs(this.#blobs);
      return bavail * bsize;
    } catch (cause) {
      throw storageFailure("cannot tell how much space is free", cause);
    }
  }

  /** Ends what works behind, ingests that still run fail; lets go of what is kept open, readers keep theirs. */
  async stop(): Promise<void> {
    this.#hot.clear();
    await this.#desk.scribe.stop();
  }

  /** A new directory is a new name too: its parent is synced, once. */
  async #make(directory: string): Promise<void> {
    if (this.#madeDirectories.has(directory) && existsSync(directory)) return;
    const first = await mkdir(directory, { recursive: true });
    if (first !== undefined) {
      await syncDirectory(dirname(directory));
      await syncDirectory(this.#blobs);
    }
    this.#madeDirectories.add(directory);
  }

  #directoryOf(digest: Digest): string {
    return join(this.#blobs, algorithmOf(digest), hexOf(digest).slice(0, 2));
  }

  /** The name of its file, whether it is there or not. */
  pathOf(digest: Digest): string {
    return join(this.#directoryOf(digest), hexOf(digest));
  }
}

async function syncDirectory(path: string): Promise<void> {
  const fd = await openAsync(path, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    await fsyncAsync(fd);
  } finally {
    close(fd, () => {});
  }
}

async function readAll(reader: Follower): Promise<Buffer> {
  const bytes = Buffer.allocUnsafe(reader.sizeBytes);
  let at = 0;
  while (at < bytes.length) {
    const count = await new Promise<number>((resolve, reject) => {
      readFd(reader.fd, bytes, at, bytes.length - at, at, (error, n) => (error === null ? resolve(n) : reject(error)));
    });
    if (count === 0) throw new Failure("storage", `${reader.digest} is shorter than it was when it was opened`);
    at += count;
  }
  return bytes;
}
