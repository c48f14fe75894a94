/**
 * What an earlier life of the mirror left of fills that had not ended: files that nobody knows of are removed, behind the
 * start, which waits for none of it.
 */
import { messageOf } from "../base/failure.ts";
import type { Emitter } from "../base/notices.ts";
import type { BlobStore } from "../store/blobstore.ts";
import type { MirrorNotices } from "./notices.ts";

export interface LeftoversParts {
  readonly store: Pick<BlobStore, "partials" | "removePartial">;
  readonly notices: Emitter<MirrorNotices>;
}

export class Leftovers {
  readonly #parts: LeftoversParts;
  #running = Promise.resolve();

  constructor(parts: LeftoversParts) {
    this.#parts = parts;
  }

  start(): void {
    this.#running = this.#sweep().catch((cause: unknown) => {
      this.#parts.notices.emit("backgroundFailed", { what: `partial files: ${messageOf(cause)}`, cause });
    });
  }

  /** Resolves when nothing runs any more. */
  stop(): Promise<void> {
    return this.#running;
  }

  async #sweep(): Promise<void> {
    const { store } = this.#parts;
    for (const file of await store.partials()) await store.removePartial(file);
  }
}
