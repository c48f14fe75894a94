/**
 * Operations on what is stored, as images: listed, inspected, pinned, purged.
 */
import type { Clock } from "../base/clock.ts";
import type { Notices } from "../base/notices.ts";
import { type Config, upstreamsOf } from "../config/schema.ts";
import type { Database } from "../meta/database.ts";
import type { Graph } from "../meta/graph.ts";
import type { Holdings } from "../meta/holdings.ts";
import { Images } from "../meta/images.ts";
import type { Inventory } from "../meta/inventory.ts";
import { Leaving } from "../meta/leaving.ts";
import { Pins } from "../meta/pins.ts";
import { Relations } from "../meta/relations.ts";
import type { Repositories } from "../meta/repositories.ts";
import type { Tags } from "../meta/tags.ts";
import type { Absences } from "../mirror/absences.ts";
import type { Fills } from "../mirror/fills.ts";
import type { Keeping } from "../mirror/keeping.ts";
import type { MirrorNotices } from "../mirror/notices.ts";
import type { Shelf } from "../mirror/shelf.ts";
import type { Sightings } from "../mirror/sightings.ts";
import type { Troubles } from "../mirror/troubles.ts";
import type { DiskStore } from "../store/disk.ts";
import { imageOperation } from "./image.ts";
import { imagesOperation } from "./images.ts";
import { Narrowing } from "./narrowing.ts";
import type { Operation } from "./operation.ts";
import { pinOperations } from "./pins.ts";
import { purgeOperation } from "./purge.ts";

export interface CatalogueParts {
  readonly config: Config;
  readonly database: Database;
  readonly repositories: Repositories;
  readonly inventory: Inventory;
  readonly holdings: Holdings;
  readonly tags: Tags;
  readonly graph: Graph;
  readonly shelf: Shelf;
  readonly store: DiskStore;
  readonly fills: Fills;
  readonly keeping: Keeping;
  readonly absences: Absences;
  readonly sightings: Sightings;
  readonly troubles: Troubles;
  readonly clock: Clock;
  readonly notices: Notices<MirrorNotices>;
  readonly signal: AbortSignal;
}

export interface Catalogue {
  readonly operations: readonly Operation[];
  /** Makes good what the mirror had no time for when it ended. */
  start(): void;
  /** After `signal` aborted: resolves when nothing runs any more. */
  stop(): Promise<void>;
}

export function openCatalogue(parts: CatalogueParts): Catalogue {
  const { database, repositories, store } = parts;
  const images = new Images(database);
  const pins = new Pins(database, repositories);
  const read = store.read.bind(store);
  const narrowing = new Narrowing({ ...parts, pins, read });
  const upstreams = upstreamsOf(parts.config);
  const all = {
    ...{ ...parts, images, pins, narrowing, read, relations: new Relations(database), leaving: new Leaving(database) },
    freshnessOf: (upstream: string) => upstreams.get(upstream)?.freshness,
    isKnown: (upstream: string) => upstreams.has(upstream) || images.hasUpstream(upstream),
    now: () => parts.clock.now(),
  };
  return {
    operations: [imagesOperation(all), imageOperation(all), ...pinOperations(all), purgeOperation(all)],
    start: () => void narrowing.refresh(),
    stop: () => narrowing.refresh(),
  };
}
