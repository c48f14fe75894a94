/**
 * What looks after the store beside answering clients, put together: room, truth, pins, warming, travel; and the
 * operations of the admin API that ask for it.
 */
import { bundleOperations } from "./api/bundles.ts";
import { openCatalogue } from "./api/catalogue.ts";
import type { Operation } from "./api/operation.ts";
import { scrubOperations } from "./api/scrub.ts";
import type { Clock } from "./base/clock.ts";
import type { Notices } from "./base/notices.ts";
import { Claims } from "./bundle/claims.ts";
import type { Config } from "./config/schema.ts";
import type { Database } from "./meta/database.ts";
import type { Graph } from "./meta/graph.ts";
import type { Holdings } from "./meta/holdings.ts";
import type { Inventory } from "./meta/inventory.ts";
import type { IndexAccess } from "./meta/recovery.ts";
import { Relations } from "./meta/relations.ts";
import type { Place, Repositories } from "./meta/repositories.ts";
import type { Tags } from "./meta/tags.ts";
import type { Usage } from "./meta/usage.ts";
import type { Absences } from "./mirror/absences.ts";
import type { AgedPages } from "./mirror/aged.ts";
import type { Capacity } from "./mirror/capacity.ts";
import type { Fills } from "./mirror/fills.ts";
import type { Keeping } from "./mirror/keeping.ts";
import { Leftovers } from "./mirror/leftovers.ts";
import type { LocalOrigin } from "./mirror/local-origin.ts";
import type { MirrorNotices } from "./mirror/notices.ts";
import type { Readers } from "./mirror/readers.ts";
import { makeRoute, type Route } from "./mirror/route.ts";
import type { Shelf } from "./mirror/shelf.ts";
import type { Sightings } from "./mirror/sightings.ts";
import type { Troubles } from "./mirror/troubles.ts";
import type { Sources } from "./sources.ts";
import type { DiskStore } from "./store/disk.ts";
import { Evictor } from "./upkeep/evictor.ts";
import { IndexCare } from "./upkeep/indexcare.ts";
import { IdlePermissions } from "./upkeep/permissions.ts";
import { Truth } from "./upkeep/truth.ts";
import { UseWriter } from "./upkeep/use-writer.ts";
import { mayPull } from "./upstream/registries/repositories.ts";
import { openWarming } from "./warming.ts";

export interface CareParts {
  readonly config: Config;
  /** The versioned directory below `cache.dir`. */
  readonly root: string;
  readonly index: IndexAccess;
  readonly database: Database;
  readonly repositories: Repositories;
  readonly tags: Tags;
  readonly graph: Graph;
  readonly inventory: Inventory;
  readonly holdings: Holdings;
  readonly usage: Usage;
  readonly store: DiskStore;
  readonly capacity: Capacity;
  readonly shelf: Shelf;
  readonly fills: Fills;
  readonly readers: Readers;
  readonly keeping: Keeping;
  readonly origin: LocalOrigin;
  readonly pages: AgedPages;
  readonly absences: Absences;
  readonly sightings: Sightings;
  readonly troubles: Troubles;
  readonly sources: Sources;
  readonly clock: Clock;
  readonly notices: Notices<MirrorNotices>;
  /** Aborts when the mirror stops. */
  readonly signal: AbortSignal;
}

export interface Care {
  readonly operations: readonly Operation[];
  /** Begins what goes on by itself while the mirror serves; never waits for the network or a scan. */
  start(): void;
  /** After `signal` aborted: resolves when nothing runs any more. */
  stop(): Promise<void>;
}

/** One who looks after something. Stopped in reverse order. */
interface Keeper {
  start?(): void;
  stop?(): Promise<void>;
  readonly operations?: readonly Operation[];
}

export function openCare(parts: CareParts): Care {
  const claims = new Claims();
  const evictor = evictorOf(parts, claims);
  parts.capacity.useMaker(evictor);
  const keepers: Keeper[] = [
    new UseWriter(parts),
    evictor,
    new IndexCare(parts),
    new IdlePermissions(parts),
    new Leftovers({
      ...parts,
      isOnline: !parts.config.offline,
      findRoute: ({ place }) => findRoute(parts.sources, place),
    }),
    keeperOfTruth(parts),
    openWarming(parts),
    traveller(parts, claims),
    openCatalogue(parts),
  ];
  return {
    operations: keepers.flatMap(({ operations = [] }) => operations),
    start() {
      for (const keeper of keepers) keeper.start?.();
    },
    async stop() {
      for (const keeper of keepers.toReversed()) await keeper.stop?.();
    },
  };
}

function keeperOfTruth(parts: CareParts): Keeper {
  const truth = new Truth(parts);
  parts.usage.onUsed = (digests) => truth.used(digests);
  return {
    operations: scrubOperations({ ...parts, scrub: truth.scrub, truth }),
    start: () => truth.start(),
    stop: () => truth.stop(),
  };
}

function traveller(parts: CareParts, claims: Claims): Keeper {
  const { capacity, sources } = parts;
  const relations = new Relations(parts.database);
  return {
    operations: bundleOperations({ ...parts, claims, relations, limits: capacity.limits, routing: sources.routing }),
  };
}

function findRoute({ routing }: Sources, { upstream, repository }: Place): Route | undefined {
  const source = routing.find(upstream);
  const isSame = source?.name === upstream && mayPull(routing.rules(source), repository);
  return isSame ? makeRoute(source, repository) : undefined;
}

function evictorOf(parts: CareParts, claims: Claims): Evictor {
  const { highWatermark, lowWatermark } = parts.config.cache;
  return new Evictor({
    ...parts,
    isFilling: (digest) => parts.fills.isHeld(digest) || parts.readers.has(digest) || claims.has(digest),
    marks: { high: highWatermark, low: lowWatermark },
    isOnline: !parts.config.offline,
  });
}
