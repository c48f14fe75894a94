/**
 * Descriptors of files that many ask for, kept open between their readers: no open and no stat for each.
 *
 * A file becomes hot by being opened often within a second, and has to become so again and again: files may be changed
 * behind our back, and that must not stay unnoticed for longer.
 */
import { LRUCache } from "lru-cache";
import type { Digest } from "../oci/digest.ts";
import type { FileIdentity } from "./condemned.ts";
import type { OpenFile } from "./openfile.ts";

export interface SizedFile {
  readonly file: OpenFile;
  readonly sizeBytes: number;
  readonly identity: () => FileIdentity;
}

const MAX_FILES = 128;
const WINDOW_MS = 1000;
const HOT_FROM_OPENS = 8;

export class HotFiles {
  readonly #opens = new LRUCache<Digest, { count: number }>({ max: MAX_FILES * HOT_FROM_OPENS, ttl: WINDOW_MS });
  readonly #files = new LRUCache<Digest, SizedFile>({
    max: MAX_FILES,
    ttl: WINDOW_MS,
    ttlAutopurge: true,
    dispose: ({ file }) => file.release(),
  });

  /** With a use of the file for the caller, who releases it. */
  find(digest: Digest): SizedFile | undefined {
    const found = this.#files.get(digest);
    found?.file.retain();
    return found;
  }

  /** It was opened, or found here. */
  note(digest: Digest, opened: SizedFile): void {
    if (this.#files.has(digest)) return;
    const opens = this.#opens.get(digest);
    if (opens === undefined) {
      this.#opens.set(digest, { count: 1 });
      return;
    }
    opens.count += 1;
    if (opens.count < HOT_FROM_OPENS) return;
    this.#opens.delete(digest);
    opened.file.retain();
    this.#files.set(digest, opened);
  }

  drop(digest: Digest): void {
    this.#opens.delete(digest);
    this.#files.delete(digest);
  }

  clear(): void {
    this.#files.clear();
  }
}
