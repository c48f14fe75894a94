/**
 * What a client holds of a running fill, and what fills are made of.
 */
import type { Clock } from "../base/clock.ts";
import type { Emitter } from "../base/notices.ts";
import type { Graph } from "../meta/graph.ts";
import type { Inventory } from "../meta/inventory.ts";
import type { Place } from "../meta/repositories.ts";
import type { BlobStore } from "../store/blobstore.ts";
import type { Follower } from "../store/follower.ts";
import type { Absence } from "../upstream/upstream.ts";
import type { Capacity } from "./capacity.ts";
import type { Keeping } from "./keeping.ts";
import type { MirrorNotices } from "./notices.ts";
import type { Pace } from "./pace.ts";

/** One client's interest in a fill. */
export interface Ticket {
  /** True where the fill already ran when this client came. */
  readonly joined: boolean;
  /** Where the fill gets the blob from. */
  readonly place: Place;
  /**
   * Resolves once a follower can be opened, or with the upstream's no; rejects with what stopped the fill.
   * Blobs smaller than the barrier are verified by then.
   */
  readonly ready: Promise<Absence | undefined>;
  /** Where the fill is and how fast it goes; meaningful after `ready`. */
  progress(): FillProgress;
  /** Opens a follower; closing it releases the ticket. */
  follow(): Follower;
  /** Ends the interest without a follower. May be called more than once. */
  release(): void;
}

export interface FillProgress {
  readonly sizeBytes: number;
  readonly visibleBytes: number;
  /** Average since the fill began; 0 in its first second. */
  readonly bytesPerSecond: number;
}

export interface FillParts {
  readonly capacity: Capacity;
  readonly store: BlobStore;
  readonly inventory: Inventory;
  readonly graph: Graph;
  /** Without one, nothing is kept of a fill that ends early. */
  readonly keeping?: Keeping | undefined;
  readonly clock: Clock;
  readonly notices: Emitter<MirrorNotices>;
  /** 0 ≤ x < 1. Default: `Math.random`. */
  readonly random?: (() => number) | undefined;
}

/** A fill's parts, with what is known of its upstream. */
export interface FillSurroundings extends FillParts {
  readonly pace: Pace;
  /** An earlier fill of the same digest has ended then; undefined where there is none. */
  readonly predecessor: Promise<void> | undefined;
}
