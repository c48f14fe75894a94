/**
 * Blobs as files: `blobs/<algorithm>/<first two hex>/<hex>`, written in `partial/` beside them.
 *
 * A file under `blobs/` is complete, verified and read-only. What lies in `partial/` was not: it is taken up by whoever
 * knows what it is. Nothing is looked for at start-up. Paths are made of parsed digests only.
 */
import { constants, lstatSync, read as readFd } from "node:fs";
import { dirname, join } from "node:path";
import { errnoOf, Failure } from "../base/failure.ts";
import { algorithmOf, type Digest, hexOf } from "../oci/digest.ts";
import type { BlobStore, Ingest, Kept } from "./blobstore.ts";
import { Condemned, type FileIdentity, identityOf } from "./condemned.ts";
import { EarlySync } from "./earlysync.ts";
import { type Files, systemFiles } from "./files.ts";
import { type Follower, StoredFollower } from "./follower.ts";
import { Home } from "./home.ts";
import { HotFiles, type SizedFile } from "./hotfiles.ts";
import { type Desk, DiskIngest } from "./ingest.ts";
import { syncDirectory } from "./naming.ts";
import { OpenFile } from "./openfile.ts";
import { Partials } from "./partials.ts";
import { Quarantine } from "./quarantine.ts";
import { Scribe } from "./scribe.ts";
import { Slabs } from "./slabs.ts";
import { storageFailure } from "./trouble.ts";

export class DiskStore implements BlobStore {
  readonly #files: Files;
  readonly #blobs: string;
  readonly #partials: Partials;
  readonly #madeDirectories = new Set<string>();
  readonly #hot = new HotFiles();
  readonly #condemned = new Condemned();
  readonly #quarantine: Quarantine;
  readonly #home: Home;
  readonly #desk: Desk;
  /** How many readers in this process have each stored blob open. */
  readonly #readers = new Map<Digest, number>();

  private constructor(root: string, files: Files, scribe: Scribe | undefined) {
    this.#files = files;
    const earlySync = new EarlySync(files);
    const condemned = this.#condemned;
    this.#desk = { files, scribe: scribe ?? new Scribe(new Slabs(), files.thread), earlySync, condemned };
    this.#quarantine = new Quarantine(root);
    this.#blobs = join(root, "blobs");
    this.#home = new Home(root, this.#blobs);
    this.#partials = new Partials(files, join(root, "partial"), this.#blobs);
  }

  /**
   * Makes the directories.
   * @throws Failure `storage` where the directory cannot be written.
   */
  static async open(root: string, files = systemFiles, scribe?: Scribe): Promise<DiskStore> {
    const store = new DiskStore(root, files, scribe);
    try {
      await files.mkdir(store.#blobs);
      await store.#partials.open();
      store.#home.open();
    } catch (cause) {
      throw storageFailure(`the cache directory ${root} cannot be written`, cause);
    }
    return store;
  }

  /** For a process that reads what another one keeps there: nothing is made and nothing removed. */
  static reader(root: string): DiskStore {
    return new DiskStore(root, systemFiles, undefined);
  }

  has(digest: Digest): boolean {
    return this.#files.exists(this.pathOf(digest));
  }

  /**
   * @param sizeBytes how large it is by the index, where that knows it. Only such a file is kept open, and only as that
   *   is one taken from there: what was damaged or replaced must not outlive its removal in a descriptor.
   */
  async open(digest: Digest, sizeBytes?: number): Promise<Follower | undefined> {
    const since = this.#condemned.now;
    const opened = this.#findHot(digest, sizeBytes) ?? (await this.#open(digest));
    if (opened === undefined) return undefined;
    const failure = () => this.#condemned.find(digest, since, opened.identity);
    if (opened.sizeBytes === sizeBytes && failure() === undefined) this.#hot.note(digest, opened);
    this.#readers.set(digest, (this.#readers.get(digest) ?? 0) + 1);
    return new StoredFollower(digest, opened.sizeBytes, opened.file, () => this.#closed(digest), failure);
  }

  /** What is being read in this process. */
  openDigests(): Iterable<Digest> {
    return this.#readers.keys();
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
      fd = await this.#files.open(this.pathOf(digest), constants.O_RDONLY | constants.O_NONBLOCK);
    } catch (cause) {
      if (errnoOf(cause) === "ENOENT") return undefined;
      throw storageFailure("cannot open a stored blob", cause);
    }
    const file = new OpenFile(fd);
    try {
      const { isFile, sizeBytes, identity } = await this.#files.fstat(fd);
      if (!isFile) throw new Failure("storage", `${this.pathOf(digest)} is not a file`);
      if (this.#condemned.has(digest, identity)) {
        file.release();
        return undefined;
      }
      return { file, sizeBytes, identity };
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

  async ingest(digest: Digest, kept?: Kept): Promise<Ingest> {
    const taken = kept === undefined ? undefined : await this.#partials.take(kept);
    const partial = taken ?? (await this.#partials.create(digest));
    const place = {
      incoming: this.#partials.incomingOf(partial.name),
      final: async () => {
        await this.#make(this.#directoryOf(digest));
        return this.pathOf(digest);
      },
      ended: () => this.#partials.ended(partial.name),
    };
    return new DiskIngest(digest, { ...place, ...partial, sizeBytes: taken && kept?.sizeBytes }, this.#desk);
  }

  partials(): Promise<string[]> {
    return this.#partials.list();
  }

  async removePartial(file: string): Promise<void> {
    await this.#partials.remove(file);
  }

  /** Bytes of files that should be gone, and are not. */
  get lingeringBytes(): number {
    return this.#partials.lingering.bytes;
  }

  /** Tries again to remove some of those. */
  retryRemoving(): Promise<void> {
    return this.#partials.lingering.retry();
  }

  async remove(digest: Digest): Promise<void> {
    this.#hot.drop(digest);
    try {
      await this.#files.unlink(this.pathOf(digest));
    } catch (cause) {
      if (errnoOf(cause) === "ENOENT") return;
      throw storageFailure("cannot remove a stored blob", cause);
    }
  }

  /**
   * Removes a stored blob: its name is gone when this returns, so that it is never taken from under one that is stored
   * anew; its space, which may take long to be given back, when the promise resolves.
   * @throws Failure `storage` where its file would not go: it lingers, or is still there by its name.
   */
  async discard(digest: Digest): Promise<void> {
    this.#hot.drop(digest);
    const { name, path } = this.#partials.aside();
    try {
      this.#files.renameNow(this.pathOf(digest), path);
    } catch (cause) {
      // Another device, perhaps; what it is, removing tells.
      if (errnoOf(cause) !== "ENOENT") await this.remove(digest);
      return;
    }
    const trouble = await this.#partials.remove(name);
    if (trouble !== undefined) throw storageFailure("cannot remove a stored blob's file", trouble);
  }

  /**
   * To be asked before anything is taken for lost.
   * @throws Failure `storage` where the directory of the blobs is gone, or another one is in its place.
   */
  expectHome(): void {
    this.#home.expect();
  }

  /** Somebody says that what lies in the directory of the blobs is all there is. */
  acceptHome(): void {
    this.#home.accept();
  }

  /** Removes it as `discard` does, if it is this very file. @returns whether it was. */
  async discardSeen(digest: Digest, seen: FileIdentity): Promise<boolean> {
    if (!this.isThere(digest, seen)) return false;
    await this.discard(digest);
    return true;
  }

  /** It has lost its file: whoever comes does not read what is kept open of it. */
  letGo(digest: Digest): void {
    this.#hot.drop(digest);
  }

  /**
   * Whether what has its name is this very file; where that cannot be told, any. Of this moment: whoever asks acts on it
   * before anything else runs. A file that is stored meanwhile gets its row afterwards.
   */
  isThere(digest: Digest, seen: FileIdentity | undefined): boolean {
    try {
      const identity = identityOf(lstatSync(this.pathOf(digest)));
      return seen === identity;
    } catch (cause) {
      const isGone = errnoOf(cause) === "ENOENT" || errnoOf(cause) === "ENOTDIR";
      return seen === undefined && !isGone;
    }
  }

  /**
   * A stored file does not hold what its name says: whoever reads it is stopped, nobody opens it again, and it is taken
   * out of the store.
   * @param seen the file that was found damaged; undefined for whatever lies there, which need not be a file.
   * @param reason such as "does not match its digest".
   * @returns where it is now: see `Quarantine`. @throws Failure `storage`: it is still there, and still not opened.
   */
  async condemn(digest: Digest, reason: string, seen?: FileIdentity): Promise<string> {
    if (seen !== undefined) this.disown(digest, reason, seen);
    return await this.#quarantine.take(digest, this.pathOf(digest), seen);
  }

  /** The part of `condemn` that concerns this process: files are left alone. */
  disown(digest: Digest, reason: string, seen: FileIdentity): void {
    this.#condemned.add(digest, seen, reason);
    this.#hot.drop(digest);
  }

  async freeBytes(): Promise<number> {
    try {
      return await this.#files.freeBytes(this.#blobs);
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
    if (this.#madeDirectories.has(directory) && this.#files.exists(directory)) return;
    const first = await this.#files.mkdir(directory);
    if (first !== undefined) {
      await syncDirectory(this.#files, dirname(directory));
      await syncDirectory(this.#files, this.#blobs);
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
