/**
 * Stored files that turned out to be damaged: whoever has one open learns of it, and nobody opens it again.
 *
 * A file is told from the one that takes its place by what the file system says of it, and readers of the one from
 * readers of the other by that and by when they began.
 */
import { fstatSync, type Stats } from "node:fs";
import { LRUCache } from "lru-cache";
import { Failure } from "../base/failure.ts";
import type { Digest } from "../oci/digest.ts";

/** Tells a file from every other one that has had or will have its name, as long as nobody writes to it. */
export type FileIdentity = string;

export function identityOf({ dev, ino, size, mtimeMs }: Pick<Stats, "dev" | "ino" | "size" | "mtimeMs">): FileIdentity {
  return `${dev}:${ino}:${size}:${mtimeMs}`;
}

/** Of an open file; undefined where the disk does not even tell that. */
export function identityOfOpen(fd: number): FileIdentity | undefined {
  try {
    return identityOf(fstatSync(fd));
  } catch {
    return undefined;
  }
}

/** Tells it from every other one that is open or has a name at the same time. */
function placeOf(identity: FileIdentity): string {
  return identity.split(":", 2).join(":");
}

interface Verdict {
  /** Readers that began before have this file open. */
  readonly serial: number;
  readonly identity: FileIdentity;
  readonly failure: Failure;
}

export class Condemned {
  #serial = 0;
  readonly #verdicts = new LRUCache<Digest, Verdict>({ max: 1000 });

  /** To be taken before a file is opened, and asked with later. */
  get now(): number {
    return this.#serial;
  }

  add(digest: Digest, identity: FileIdentity, reason: string): void {
    this.#serial += 1;
    const failure = new Failure("corrupt", `the stored blob ${reason}`);
    this.#verdicts.set(digest, { serial: this.#serial, identity, failure });
  }

  /**
   * Why a reader that began at `since` must not go on.
   * @param identity of what it has open, as it was then; without it, it is taken to read the condemned file.
   */
  find(digest: Digest, since: number, identity?: () => FileIdentity): Failure | undefined {
    // Nearly always: this is asked for each piece of each body.
    if (this.#serial === since) return undefined;
    const verdict = this.#verdicts.get(digest);
    if (verdict === undefined || verdict.serial <= since) return undefined;
    // What is written to it meanwhile does not make it another one.
    const isOther = identity !== undefined && placeOf(identity()) !== placeOf(verdict.identity);
    return isOther ? undefined : verdict.failure;
  }

  /** Whether this very file was condemned, and could not be taken away. */
  has(digest: Digest, identity: () => FileIdentity): boolean {
    const verdict = this.#serial === 0 ? undefined : this.#verdicts.get(digest);
    return verdict !== undefined && verdict.identity === identity();
  }
}
