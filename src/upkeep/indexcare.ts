/**
 * The index, looked after while a mirror serves: what became of it is told, and rows and files are made to agree where
 * they may not.
 */
import { messageOf } from "../base/failure.ts";
import type { Emitter } from "../base/notices.ts";
import { damageText, type IndexAccess, recoveryText } from "../meta/recovery.ts";
import type { MirrorNotices } from "../mirror/notices.ts";
import { type ReconcileParts, reconcile } from "./reconcile.ts";

export interface IndexCareParts extends ReconcileParts {
  readonly index: IndexAccess;
  readonly offline: boolean;
  readonly notices: Emitter<MirrorNotices>;
  /** Aborts when the mirror stops. */
  readonly signal: AbortSignal;
}

export class IndexCare {
  readonly #parts: IndexCareParts;
  #reconciling: Promise<void> = Promise.resolve();

  constructor(parts: IndexCareParts) {
    this.#parts = parts;
  }

  start(): void {
    const { index, notices, offline } = this.#parts;
    index.onDamage((cause) => notices.emit("storageTrouble", { message: damageText(cause), cause }));
    if (index.recovery !== undefined) {
      notices.emit("indexRecovered", { message: recoveryText(index.recovery, offline) });
    }
    if (index.reconcileDue) this.#reconciling = this.#reconcile();
  }

  /** After the signal has aborted. */
  async stop(): Promise<void> {
    await this.#reconciling;
  }

  async #reconcile(): Promise<void> {
    const { index, notices, signal } = this.#parts;
    try {
      const report = await reconcile(this.#parts, { signal });
      index.reconciled();
      notices.emit("indexReconciled", report);
    } catch (cause) {
      if (signal.aborted) return;
      notices.emit("backgroundFailed", { what: `comparing the index with the files: ${messageOf(cause)}`, cause });
    }
  }
}
