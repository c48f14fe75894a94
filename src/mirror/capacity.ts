/**
 * Watches over the space of the store: asks the policy, with figures that are at most a second old.
 *
 * While the disk rests after a failure, everything is streamed through instead of failing pull after pull.
 */
import type { Clock } from "../base/clock.ts";
import { Failure, isFailure } from "../base/failure.ts";
import type { Emitter } from "../base/notices.ts";
import type { Inventory } from "../meta/inventory.ts";
import type { BlobStore } from "../store/blobstore.ts";
import { findRefusal, type StoreLimits, type StoreState } from "./admission.ts";
import type { DiskReports } from "./diskhealth.ts";
import type { MirrorNotices } from "./notices.ts";

const FIGURES_MAX_AGE_MS = 1000;

export interface CapacityParts {
  readonly store: BlobStore;
  readonly inventory: Inventory;
  readonly limits: StoreLimits;
  /** Absent where nobody watches over the disk. */
  readonly health?: DiskReports;
  readonly clock: Clock;
  readonly notices: Emitter<MirrorNotices>;
}

export interface Room {
  /** More than this must not be written. */
  readonly limitBytes: number;
  /** May be called more than once. */
  release(): void;
}

/** Why something is not stored, from the failure of a fill; undefined where the disk itself failed. */
export function refusalOf(failure: Failure): string | undefined {
  const detail = failure.detail;
  if (typeof detail !== "object" || detail === null || !("refusal" in detail)) return undefined;
  return typeof detail.refusal === "string" ? detail.refusal : undefined;
}

export function noRoom(refusal: string): Failure {
  return new Failure("storage", `there is no room to store this blob (${refusal})`, { detail: { refusal } });
}

export class Capacity {
  readonly #parts: CapacityParts;
  #free = { bytes: 0, at: Number.NEGATIVE_INFINITY };
  #told: string | undefined;
  #reservedBytes = 0;

  constructor(parts: CapacityParts) {
    this.#parts = parts;
  }

  /** Why a blob of this size is not stored now; undefined where it is. One notice for each change of mind. */
  async findRefusal(sizeBytes: number): Promise<string | undefined> {
    const why = await this.#judge(sizeBytes);
    // What is wrong with the disk is told by whoever watches over it.
    if (why !== this.#told && why !== undefined && why !== "storage") {
      this.#parts.notices.emit("storageTrouble", {
        message: `new content is streamed through and not kept (${why}): free space, or raise cache.maxSize`,
        cause: undefined,
      });
    }
    this.#told = why;
    return why;
  }

  /**
   * Sets room aside for a running fill, which gives it back when it ends.
   * @param sizeBytes undefined where nobody knows: then all the room there is.
   * @returns the room, or why there is none.
   */
  async reserve(sizeBytes: number | undefined): Promise<Room | string> {
    const why = await this.findRefusal(sizeBytes ?? 1);
    if (why !== undefined) return why;
    const bytes = sizeBytes ?? 0;
    this.#reservedBytes += bytes;
    let held = true;
    return {
      limitBytes: sizeBytes ?? this.#room(),
      release: () => {
        if (held) this.#reservedBytes -= bytes;
        held = false;
      },
    };
  }

  /** The disk failed a write. */
  trouble(cause: unknown): void {
    this.#parts.health?.failed(cause);
  }

  async #judge(sizeBytes: number): Promise<string | undefined> {
    const { store, limits, health, clock } = this.#parts;
    const now = clock.now();
    if (health?.isResting === true) return "storage";
    try {
      if (Math.abs(now - this.#free.at) > FIGURES_MAX_AGE_MS) this.#free = { bytes: await store.freeBytes(), at: now };
    } catch (error) {
      if (!isFailure(error, "storage")) throw error;
      health?.failed(error);
      return "storage";
    }
    return findRefusal(limits, this.#state(), sizeBytes);
  }

  /** What running fills will take counts as taken. */
  #state(): StoreState {
    const { inventory } = this.#parts;
    const reserved = this.#reservedBytes;
    return { storedBytes: inventory.bytes + reserved, freeBytes: this.#free.bytes - reserved };
  }

  #room(): number {
    const { maxBytes, minFreeBytes } = this.#parts.limits;
    const { storedBytes, freeBytes } = this.#state();
    return Math.min((maxBytes ?? Number.POSITIVE_INFINITY) - storedBytes, freeBytes - minFreeBytes);
  }
}
