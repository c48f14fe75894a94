/**
 * A reader of a blob that is stored or still being written, at its own pace and offset.
 *
 * Whoever reads sees a prefix that only grows, and never the last bytes of something that has not been verified.
 */
import type { Digest } from "../oci/digest.ts";
import type { OpenFile } from "./openfile.ts";

export interface Follower {
  readonly digest: Digest;
  readonly sizeBytes: number;
  /** For positional reads below `visible()`; valid until `close()`. */
  readonly fd: number;
  /** The name of the growing file that another process may open as well; undefined for what is stored. */
  readonly path?: string | undefined;
  /** How many bytes, from the first, may be served now. */
  visible(): number;
  /** What ended the ingest without a verified blob, or how the blob was damaged since; nothing more may be served then. */
  failure(): Error | undefined;
  /**
   * Calls back once, as soon as `visible()` is above `position` or there is a failure; at once where that is so already.
   * One wait at a time; `close()` drops it.
   */
  wait(position: number, wake: () => void): void;
  close(): void;
}

/** What a follower watches: an ingest. */
export interface Watched {
  visible(): number;
  failure(): Error | undefined;
  watch(waiter: Waiter): void;
  unwatch(waiter: Waiter): void;
}

export interface Waiter {
  readonly position: number;
  readonly wake: () => void;
}

/** Reads a finished blob. */
export class StoredFollower implements Follower {
  readonly digest: Digest;
  readonly sizeBytes: number;
  readonly #file: OpenFile;
  readonly #onClose: (() => void) | undefined;
  readonly #failure: (() => Error | undefined) | undefined;
  #open = true;

  /**
   * Takes over the caller's use of `file`.
   * @param failure tells whether the file was found damaged meanwhile.
   */
  constructor(
    digest: Digest,
    sizeBytes: number,
    file: OpenFile,
    onClose?: () => void,
    failure?: () => Error | undefined,
  ) {
    this.digest = digest;
    this.sizeBytes = sizeBytes;
    this.#file = file;
    this.#onClose = onClose;
    this.#failure = failure;
  }

  get fd(): number {
    return this.#file.fd;
  }

  visible(): number {
    return this.sizeBytes;
  }

  failure(): Error | undefined {
    return this.#failure?.();
  }

  wait(_position: number, wake: () => void): void {
    wake();
  }

  close(): void {
    if (!this.#open) return;
    this.#open = false;
    this.#file.release();
    this.#onClose?.();
  }
}

/** Reads a blob that grows. */
export class GrowingFollower implements Follower {
  readonly digest: Digest;
  readonly sizeBytes: number;
  readonly #file: OpenFile;
  readonly #watched: Watched;
  readonly #onClose: () => void;
  #waiter: Waiter | undefined;
  #open = true;

  /** Takes over the caller's use of `file`. */
  constructor(digest: Digest, sizeBytes: number, file: OpenFile, watched: Watched, onClose: () => void) {
    this.digest = digest;
    this.sizeBytes = sizeBytes;
    this.#file = file;
    this.#watched = watched;
    this.#onClose = onClose;
  }

  get fd(): number {
    return this.#file.fd;
  }

  get path(): string | undefined {
    return this.#file.path;
  }

  visible(): number {
    return this.#watched.visible();
  }

  failure(): Error | undefined {
    return this.#watched.failure();
  }

  wait(position: number, wake: () => void): void {
    if (this.#watched.visible() > position || this.#watched.failure() !== undefined) {
      wake();
      return;
    }
    this.#waiter = { position, wake };
    this.#watched.watch(this.#waiter);
  }

  close(): void {
    if (!this.#open) return;
    this.#open = false;
    if (this.#waiter !== undefined) this.#watched.unwatch(this.#waiter);
    this.#file.release();
    this.#onClose();
  }
}
