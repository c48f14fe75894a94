/**
 * The index, looked after while a mirror serves: what became of it is told, and rows and files are made to agree where
 * they may not, and its state is copied now and then.
 */
import type { Clock } from "../base/clock.ts";
import { messageOf } from "../base/failure.ts";
import type { Emitter } from "../base/notices.ts";
import { damageText, type IndexAccess, recoveryText } from "../meta/recovery.ts";
import type { Capacity } from "../mirror/capacity.ts";
import type { MirrorNotices } from "../mirror/notices.ts";
import { type BackupParts, Backups } from "./backups.ts";
import { type ReconcileParts, reconcile } from "./reconcile.ts";

export interface IndexCareParts extends ReconcileParts {
  readonly index: IndexAccess;
  readonly store: ReconcileParts["store"] & BackupParts["store"];
  readonly config: { readonly offline: boolean; readonly cache: { readonly minFree: number } };
  readonly capacity: Pick<Capacity, "holdUncounted">;
  readonly clock: Clock;
  readonly notices: Emitter<MirrorNotices>;
  /** Aborts when the mirror stops. */
  readonly signal: AbortSignal;
}

export class IndexCare {
  readonly #parts: IndexCareParts;
  readonly #backups: Backups;
  /** Undefined where the rows tell what is stored, but for what the last moments brought. */
  readonly #counted: (() => void) | undefined;
  #reconciling: Promise<void> = Promise.resolve();

  constructor(parts: IndexCareParts) {
    this.#parts = parts;
    const { recovery } = parts.index;
    const isLost = recovery !== undefined && recovery.restoredFrom === undefined;
    this.#counted = isLost ? parts.capacity.holdUncounted() : undefined;
    this.#backups = new Backups({ ...parts, minFreeBytes: parts.config.cache.minFree });
  }

  start(): void {
    const { index, notices, config } = this.#parts;
    index.onDamage((cause) => notices.emit("indexDamaged", { message: damageText(cause), cause }));
    if (index.recovery !== undefined) {
      notices.emit("indexRecovered", { message: recoveryText(index.recovery, config.offline) });
    }
    if (index.reconcileDue) this.#reconciling = this.#reconcile();
    else this.#lookForHome();
    this.#backups.start(!index.hasBackup());
  }

  /** Aloud, though nothing is done about it yet: whoever mounts it soon has lost nothing. */
  #lookForHome(): void {
    const { store, notices } = this.#parts;
    try {
      store.expectHome();
    } catch (cause) {
      notices.emit("storageTrouble", { message: "the stored blobs are not there", cause });
    }
  }

  /** After the signal has aborted. */
  async stop(): Promise<void> {
    await this.#backups.stop();
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
    } finally {
      this.#counted?.();
    }
  }
}
