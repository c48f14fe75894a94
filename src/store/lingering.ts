/**
 * Files that should be gone and are not, for the file system would not let go of them: they take space, which counts, and
 * are tried again until they are gone.
 */
import { constants } from "node:fs";
import { errnoOf } from "../base/failure.ts";
import type { Files } from "./files.ts";

const LOOK = constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOFOLLOW;
/** At a time. */
const TRIED = 32;

export class Lingering {
  readonly #files: Files;
  /** How large each is, as far as that can be told; the one that waits longest first. */
  readonly #paths = new Map<string, number>();
  #bytes = 0;

  constructor(files: Files) {
    this.#files = files;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** Removes it, now or later. @returns what kept it from it; undefined where it is gone. */
  async remove(path: string): Promise<unknown> {
    let trouble: unknown;
    try {
      await this.#files.unlink(path);
    } catch (cause) {
      if (errnoOf(cause) !== "ENOENT") trouble = cause;
    }
    const sizeBytes = trouble === undefined ? undefined : await this.#sizeOf(path);
    this.#bytes -= this.#paths.get(path) ?? 0;
    this.#paths.delete(path);
    if (sizeBytes === undefined) return undefined;
    this.#paths.set(path, sizeBytes);
    this.#bytes += sizeBytes;
    return trouble;
  }

  /** Tries some of them again. */
  async retry(): Promise<void> {
    for (const path of [...this.#paths.keys()].slice(0, TRIED)) await this.remove(path);
  }

  /** Undefined where it is not there. */
  async #sizeOf(path: string): Promise<number | undefined> {
    let fd: number | undefined;
    try {
      fd = await this.#files.open(path, LOOK);
      return (await this.#files.fstat(fd)).sizeBytes;
    } catch (cause) {
      return errnoOf(cause) === "ENOENT" ? undefined : 0;
    } finally {
      if (fd !== undefined) this.#files.close(fd);
    }
  }
}
