/**
 * Watches over the space of the store: asks the policy, with figures that are at most a second old.
 *
 * After the disk failed a write, everything is streamed through for a while instead of failing pull after pull.
 */
import type { Clock } from "../base/clock.ts";
import { isFailure } from "../base/failure.ts";
import type { Emitter } from "../base/notices.ts";
import type { Inventory } from "../meta/inventory.ts";
import type { BlobStore } from "../store/blobstore.ts";
import { findRefusal, type StoreLimits } from "./admission.ts";
import type { MirrorNotices } from "./notices.ts";

const FIGURES_MAX_AGE_MS = 1000;
const REST_AFTER_TROUBLE_MS = 30_000;

export interface CapacityParts {
  readonly store: BlobStore;
  readonly inventory: Inventory;
  readonly limits: StoreLimits;
  readonly clock: Clock;
  readonly notices: Emitter<MirrorNotices>;
}

export class Capacity {
  readonly #parts: CapacityParts;
  #free = { bytes: 0, at: Number.NEGATIVE_INFINITY };
  #restUntil = 0;
  #told: string | undefined;

  constructor(parts: CapacityParts) {
    this.#parts = parts;
  }

  /** Why a blob of this size is not stored now; undefined where it is. One notice for each change of mind. */
  async findRefusal(sizeBytes: number): Promise<string | undefined> {
    const why = await this.#judge(sizeBytes);
    if (why !== this.#told && why !== undefined) {
      this.#parts.notices.emit("storageTrouble", {
        message: `new content is streamed through and not kept (${why}): free space, or raise cache.maxSize`,
        cause: undefined,
      });
    }
    this.#told = why;
    return why;
  }

  /** The disk failed a write. */
  trouble(): void {
    this.#restUntil = this.#parts.clock.now() + REST_AFTER_TROUBLE_MS;
  }

  async #judge(sizeBytes: number): Promise<string | undefined> {
    const { store, inventory, limits, clock } = this.#parts;
    const now = clock.now();
    const restMs = this.#restUntil - now;
    if (restMs > 0 && restMs <= REST_AFTER_TROUBLE_MS) return "storage";
    try {
      if (Math.abs(now - this.#free.at) > FIGURES_MAX_AGE_MS) this.#free = { bytes: await store.freeBytes(), at: now };
    } catch (error) {
      if (isFailure(error, "storage")) return "storage";
      throw error;
    }
    return findRefusal(limits, { storedBytes: inventory.bytes, freeBytes: this.#free.bytes }, sizeBytes);
  }
}
