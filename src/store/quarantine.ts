/**
 * Where damaged files go, so that somebody may look at them: `quarantine/<algorithm>-<hex>`, out of the way of every
 * reader.
 *
 * It holds a few files and at most a hundredth of the file system; the oldest leave first, and what is larger than all
 * of that is not kept.
 */
import { lstat, mkdir, readdir, rename, rm, statfs } from "node:fs/promises";
import { dirname, join } from "node:path";
import { errnoOf } from "../base/failure.ts";
import { algorithmOf, type Digest, hexOf } from "../oci/digest.ts";
import { type FileIdentity, identityOf } from "./condemned.ts";
import { storageFailure } from "./trouble.ts";

const MAX_FILES = 32;
const MAX_BYTES = 1024 ** 3;
const SHARE = 1 / 100;

export class Quarantine {
  readonly #directory: string;

  constructor(root: string) {
    this.#directory = join(root, "quarantine");
  }

  /**
   * Takes a file out of the store.
   * @param seen what was found damaged; undefined for whatever lies there, which need not be a file.
   * @returns where it is now; "removed" where it is not kept, "gone" where it had been taken away or replaced before.
   * @throws Failure `storage` where it cannot be moved and not be removed either.
   */
  async take(digest: Digest, path: string, seen?: FileIdentity): Promise<string> {
    try {
      if (seen !== undefined && (await this.#identityAt(path)) !== seen) return "gone";
      const name = join(this.#directory, `${algorithmOf(digest)}-${hexOf(digest)}`);
      if (!(await this.#move(path, name))) {
        await rm(path, { force: true, recursive: true });
        return "removed";
      }
      const moved = await this.#identityAt(name);
      if (seen !== undefined && moved !== seen) {
        // Another one took its place a moment ago: that is good, and belongs where it was.
        await mkdir(dirname(path), { recursive: true });
        await rename(name, path);
        return "gone";
      }
      await this.#tidy();
      return (await this.#identityAt(name)) === undefined ? "removed" : name;
    } catch (cause) {
      throw storageFailure("cannot take a damaged file out of the cache", cause);
    }
  }

  async #move(path: string, name: string): Promise<boolean> {
    try {
      await mkdir(this.#directory, { recursive: true });
      await rm(name, { force: true, recursive: true });
      await rename(path, name);
      return true;
    } catch (cause) {
      if (errnoOf(cause) === "EROFS") throw cause;
      return false;
    }
  }

  async #identityAt(path: string): Promise<FileIdentity | undefined> {
    try {
      return identityOf(await lstat(path));
    } catch (cause) {
      if (errnoOf(cause) === "ENOENT" || errnoOf(cause) === "ENOTDIR") return undefined;
      throw cause;
    }
  }

  /** Lets the oldest go, by when they came here: that is what changed them last. */
  async #tidy(): Promise<void> {
    const { blocks, bsize } = await statfs(this.#directory);
    const maxBytes = Math.min(MAX_BYTES, blocks * bsize * SHARE);
    const kept = [];
    for (const name of await readdir(this.#directory)) {
      const path = join(this.#directory, name);
      const { size, ctimeMs } = await lstat(path);
      kept.push({ path, size, ctimeMs });
    }
    kept.sort((left, right) => right.ctimeMs - left.ctimeMs);
    let bytes = 0;
    for (const [at, { path, size }] of kept.entries()) {
      bytes += size;
      if (at >= MAX_FILES || bytes > maxBytes) await rm(path, { force: true, recursive: true });
    }
  }
}
