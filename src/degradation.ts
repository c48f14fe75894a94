/**
 * What a mirror that serves lacks, for whoever asks whether it is well: a disk in trouble, blobs that are not where they
 * were, a damaged index. The first that there is is told, and since when.
 */
import type { Clock } from "./base/clock.ts";
import { messageOf } from "./base/failure.ts";
import type { Notices } from "./base/notices.ts";
import type { DiskHealth } from "./mirror/diskhealth.ts";
import type { MirrorNotices } from "./mirror/notices.ts";
import type { DiskStore } from "./store/disk.ts";

export interface DegradationParts {
  readonly health: Pick<DiskHealth, "degraded">;
  readonly store: Pick<DiskStore, "expectHome">;
  /** Of all processes of the mirror. */
  readonly notices: Notices<MirrorNotices>;
  readonly clock: Clock;
}

export interface Lack {
  readonly reason: string;
  /** Epoch milliseconds. */
  readonly since: number;
  readonly advice: string;
}

export class Degradation {
  readonly #parts: DegradationParts;
  /** Stops listening. */
  readonly end: () => void;
  #damagedAt: number | undefined;
  #awayAt: number | undefined;

  constructor(parts: DegradationParts) {
    this.#parts = parts;
    this.end = parts.notices.on("indexDamaged", () => {
      this.#damagedAt ??= parts.clock.now();
    });
  }

  /** Undefined where all is well. */
  get lack(): Lack | undefined {
    return this.#ofDisk() ?? this.#ofHome() ?? this.#ofIndex();
  }

  #ofDisk(): Lack | undefined {
    const { degraded } = this.#parts.health;
    return degraded && { ...degraded, reason: `${degraded.why}: nothing new is stored` };
  }

  #ofHome(): Lack | undefined {
    try {
      this.#parts.store.expectHome();
      this.#awayAt = undefined;
      return undefined;
    } catch (cause) {
      this.#awayAt ??= this.#parts.clock.now();
      const advice = "mount the file system of the blobs, and restart";
      return { reason: messageOf(cause), since: this.#awayAt, advice };
    }
  }

  #ofIndex(): Lack | undefined {
    if (this.#damagedAt === undefined) return undefined;
    const reason = "the index is damaged: what it cannot tell is asked upstream";
    return { reason, since: this.#damagedAt, advice: "restart: it is rebuilt then" };
  }
}
