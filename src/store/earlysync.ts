/**
 * Has what was written of a large blob put to the disk while the rest is still on its way, so that neither memory fills
 * with bytes that wait for the disk, nor the end of the blob waits for all of them.
 *
 * One at a time over all ingests: it takes a thread of the pool that opens files for everybody else.
 */
import type { Files } from "./files.ts";
import type { OpenFile } from "./openfile.ts";

export class EarlySync {
  readonly #files: Files;
  #running = false;

  constructor(files: Files) {
    this.#files = files;
  }

  /**
   * Undefined where one runs already. Rejects with what the disk said, which it will not say again to whoever syncs this
   * file later.
   */
  start(file: OpenFile): Promise<void> | undefined {
    if (this.#running) return undefined;
    this.#running = true;
    file.retain();
    return this.#files.fdatasync(file.fd).finally(() => {
      this.#running = false;
      file.release();
    });
  }
}
