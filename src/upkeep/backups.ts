/**
 * When the index is copied: every hour in which something was written down, the first time sooner, and soon after a
 * backup had to be used.
 *
 * A damaged index is not copied any more, nor is one while the disk has no room for it: the last good copy stays.
 */
import type { Clock } from "../base/clock.ts";
import { Failure, messageOf } from "../base/failure.ts";
import type { Emitter } from "../base/notices.ts";
import type { IndexAccess } from "../meta/recovery.ts";
import type { MirrorNotices } from "../mirror/notices.ts";

export interface BackupParts {
  readonly index: Pick<IndexAccess, "writes" | "damage" | "writeBackup" | "sizeBytes">;
  readonly store: { freeBytes(): Promise<number> };
  readonly minFreeBytes: number;
  readonly clock: Clock;
  readonly notices: Emitter<MirrorNotices>;
  /** Aborts when the mirror stops. */
  readonly signal: AbortSignal;
}

const FIRST_AFTER_MS = 5 * 60_000;
const EVERY_MS = 60 * 60_000;

export class Backups {
  readonly #parts: BackupParts;
  #writes: number;
  #cancel = () => {};
  #running: Promise<void> = Promise.resolve();
  /** Told once, until one was made again. */
  #inTrouble = false;

  constructor(parts: BackupParts) {
    this.#parts = parts;
    this.#writes = parts.index.writes;
  }

  /** @param due true where there is none, or it took the index' place. */
  start(due: boolean): void {
    if (due) this.#writes = -1;
    this.#later(FIRST_AFTER_MS);
  }

  /** After the signal has aborted. */
  async stop(): Promise<void> {
    this.#cancel();
    await this.#running;
  }

  #later(delayMs: number): void {
    this.#cancel = this.#parts.clock.after(delayMs, () => {
      this.#running = this.#backUp().finally(() => {
        if (!this.#parts.signal.aborted) this.#later(EVERY_MS);
      });
    });
  }

  async #backUp(): Promise<void> {
    const { index, notices, signal } = this.#parts;
    const { writes } = index;
    if (signal.aborted || writes === this.#writes || index.damage !== undefined) return;
    try {
      await this.#assertRoom();
      await index.writeBackup(signal);
      this.#writes = writes;
      this.#inTrouble = false;
    } catch (cause) {
      if (signal.aborted || this.#inTrouble) return;
      this.#inTrouble = true;
      notices.emit("backgroundFailed", { what: `a backup of the index: ${messageOf(cause)}`, cause });
    }
  }

  async #assertRoom(): Promise<void> {
    const { index, store, minFreeBytes } = this.#parts;
    const spare = (await store.freeBytes()) - minFreeBytes;
    if (spare < index.sizeBytes())
      throw new Failure("storage", `the disk has no room for its ${index.sizeBytes()} bytes`);
  }
}
