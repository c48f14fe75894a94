/**
 * Writes down what was used, every few seconds and at the end: so much of it may be forgotten by a crash.
 */
import type { Clock } from "../base/clock.ts";
import type { Emitter } from "../base/notices.ts";
import type { Usage } from "../meta/usage.ts";
import type { MirrorNotices } from "../mirror/notices.ts";

const WRITTEN_MS = 5000;
const SLICE_MS = 4;

export interface UseWriterParts {
  readonly usage: Pick<Usage, "flush" | "whenNoted">;
  readonly clock: Clock;
  readonly notices: Emitter<MirrorNotices>;
}

export class UseWriter {
  readonly #parts: UseWriterParts;
  #cancel: (() => void) | undefined;
  #stopped = false;

  constructor(parts: UseWriterParts) {
    this.#parts = parts;
  }

  /** Where nothing is used, nothing is done. */
  start(): void {
    this.#parts.usage.whenNoted(() => this.#writeLater());
  }

  /** Resolves when all is written. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#cancel?.();
    await this.#write();
  }

  #writeLater(): void {
    if (this.#stopped) return;
    this.#cancel ??= this.#parts.clock.after(WRITTEN_MS, () => {
      this.#cancel = undefined;
      void this.#write();
    });
  }

  async #write(): Promise<void> {
    try {
      while (this.#parts.usage.flush(SLICE_MS)) await new Promise<void>((resolve) => setImmediate(resolve));
    } catch (cause) {
      this.#parts.notices.emit("storageTrouble", { message: "uses could not be written down", cause });
      this.#writeLater();
    }
  }
}
