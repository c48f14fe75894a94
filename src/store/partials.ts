/**
 * The files that blobs are written to before they have a name: `partial/<algorithm>-<hex>.<life>-<serial>`.
 *
 * A name is used once, in all lives of a store, so what is told of a file is never told of another one. Files of ingests
 * that run are nobody else's: they are neither listed nor removed here.
 */
import { randomBytes } from "node:crypto";
import { constants } from "node:fs";
import { join } from "node:path";
import { errnoOf } from "../base/failure.ts";
import { algorithmOf, type Digest, hexOf } from "../oci/digest.ts";
import type { Kept } from "./blobstore.ts";
import type { Files } from "./files.ts";
import { Lingering } from "./lingering.ts";
import { storageFailure } from "./trouble.ts";

const CREATE = constants.O_RDWR | constants.O_CREAT | constants.O_EXCL;
/** What a name may be that somebody else has kept for us: no way out of the directory. */
const NAME = /^sha(?:256|512)-[a-f0-9]+\.[a-f0-9]{8}-[0-9]+$/;

export interface PartialFile {
  readonly name: string;
  readonly path: string;
  readonly fd: number;
  /** Bytes of it that count. */
  readonly prefixBytes: number;
}

export class Partials {
  readonly #files: Files;
  readonly #directory: string;
  readonly #incoming: string;
  readonly #life = randomBytes(4).toString("hex");
  readonly #running = new Set<string>();
  readonly lingering: Lingering;
  #serial = 0;

  /** @param blobs where blobs are: copies on their way there lie in a directory of it. */
  constructor(files: Files, directory: string, blobs: string) {
    this.#files = files;
    this.lingering = new Lingering(files);
    this.#directory = directory;
    this.#incoming = join(blobs, ".incoming");
  }

  /** Makes the directory, and sees that it can be written: permission bits tell little (mounts, quotas). */
  async open(): Promise<void> {
    await this.#files.mkdir(this.#directory);
    const probe = join(this.#directory, `probe.${this.#life}`);
    this.#files.close(await this.#files.open(probe, CREATE, 0o600));
    await this.#files.unlink(probe);
  }

  /** @throws Failure `storage`. */
  async create(digest: Digest): Promise<PartialFile> {
    this.#serial += 1;
    const name = `${algorithmOf(digest)}-${hexOf(digest)}.${this.#life}-${this.#serial}`;
    const path = join(this.#directory, name);
    this.#running.add(name);
    try {
      return { name, path, fd: await this.#files.open(path, CREATE, 0o600), prefixBytes: 0 };
    } catch (cause) {
      this.#running.delete(name);
      throw storageFailure("cannot create a file in the cache directory", cause);
    }
  }

  /**
   * Opens what was kept, cut to what counts of it; undefined, and nothing of it left, where that is not there.
   * @throws Failure `storage`.
   */
  async take({ file: name, prefixBytes }: Kept): Promise<PartialFile | undefined> {
    if (!NAME.test(name) || this.#running.has(name)) return undefined;
    const path = join(this.#directory, name);
    this.#running.add(name);
    let fd: number | undefined;
    try {
      fd = await this.#files.open(path, constants.O_RDWR | constants.O_NOFOLLOW | constants.O_NONBLOCK);
      const { isFile, sizeBytes } = await this.#files.fstat(fd);
      if (isFile && sizeBytes >= prefixBytes) {
        await this.#files.ftruncate(fd, prefixBytes);
        return { name, path, fd, prefixBytes };
      }
      this.#files.close(fd);
      this.ended(name);
      await this.remove(name);
      return undefined;
    } catch (cause) {
      if (fd !== undefined) this.#files.close(fd);
      this.ended(name);
      if (errnoOf(cause) === "ENOENT") return undefined;
      throw storageFailure("cannot open a file in the cache directory", cause);
    }
  }

  /** Its ingest does not use it any more. */
  ended(name: string): void {
    this.#running.delete(name);
  }

  /** Where its copy lies for a moment, if it is on another device than the blobs. */
  incomingOf(name: string): string {
    return join(this.#incoming, name);
  }

  /** A name for what is to be removed. */
  aside(): { readonly name: string; readonly path: string } {
    this.#serial += 1;
    const name = `discarded.${this.#life}-${this.#serial}`;
    return { name, path: join(this.#directory, name) };
  }

  /** Names of all but those of running ingests. @throws Failure `storage`. */
  async list(): Promise<string[]> {
    const names = new Set<string>();
    for (const directory of [this.#directory, this.#incoming]) {
      try {
        for (const name of await this.#files.list(directory)) if (!this.#running.has(name)) names.add(name);
      } catch (cause) {
        if (errnoOf(cause) !== "ENOENT") throw storageFailure("cannot look for partial files", cause);
      }
    }
    return [...names];
  }

  /** What cannot be removed now lingers. @returns why it does; undefined where it is gone. */
  async remove(name: string): Promise<unknown> {
    if (this.#running.has(name) || name.includes("/") || name.startsWith(".")) return undefined;
    const trouble = await this.lingering.remove(join(this.#directory, name));
    return trouble ?? (await this.lingering.remove(this.incomingOf(name)));
  }
}
