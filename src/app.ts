/**
 * The composition root: from a configuration to objects, started in order and stopped in reverse.
 *
 * The network is never needed to start. What has been started when a start fails is stopped again.
 */

import { randomBytes } from "node:crypto";
import { statfs } from "node:fs/promises";
import { hostname } from "node:os";
import { join, resolve } from "node:path";
import { openAnswering } from "./answering.ts";
import { Api } from "./api/dispatch.ts";
import { openapiOperation } from "./api/openapi.ts";
import { statusOperation } from "./api/status.ts";
import { systemClock } from "./base/clock.ts";
import { Failure, messageOf } from "./base/failure.ts";
import { type Emitter, Notices } from "./base/notices.ts";
import { openCare } from "./care.ts";
import { type Config, upstreamsOf } from "./config/schema.ts";
import { Degradation } from "./degradation.ts";
import { countWorkers, openFronts } from "./frontages.ts";
import { createAdminApi, type Readiness } from "./http/admin.ts";
import { type Address, DEFAULT_LIMITS, Listener } from "./http/listener.ts";
import { isCuredByReopening, isDatabaseError } from "./meta/damage.ts";
import { openingFailure } from "./meta/database.ts";
import { refuseNewerFormat } from "./meta/format.ts";
import { Holdings } from "./meta/holdings.ts";
import { Partials } from "./meta/partials.ts";
import { type IndexAccess, openIndex, type Recovery } from "./meta/recovery.ts";
import { Relations } from "./meta/relations.ts";
import { Repositories } from "./meta/repositories.ts";
import { Usage } from "./meta/usage.ts";
import { Absences } from "./mirror/absences.ts";
import { AgedPages } from "./mirror/aged.ts";
import { Capacity } from "./mirror/capacity.ts";
import { DiskHealth } from "./mirror/diskhealth.ts";
import { Fills } from "./mirror/fills.ts";
import { Keeping } from "./mirror/keeping.ts";
import { LenientGraph, LenientInventory, LenientTags } from "./mirror/lenient.ts";
import { LocalOrigin } from "./mirror/local-origin.ts";
import type { MirrorNotices } from "./mirror/notices.ts";
import { LocalPasses } from "./mirror/passes.ts";
import { Readers } from "./mirror/readers.ts";
import { Shelf } from "./mirror/shelf.ts";
import { Sightings } from "./mirror/sightings.ts";
import { Troubles } from "./mirror/troubles.ts";
import { createLog, observeWithLog } from "./observe/log.ts";
import { createMetrics } from "./observe/metrics.ts";
import type { MirrorOptions } from "./options.ts";
import { dropOwner, writeOwner } from "./owner.ts";
import { openSources } from "./sources.ts";
import { findBootId } from "./store/bootid.ts";
import { makeDirectories } from "./store/directories.ts";
import { DiskStore } from "./store/disk.ts";
import { systemFiles } from "./store/files.ts";
import { probeStore } from "./store/probe.ts";

export type { MirrorOptions } from "./options.ts";

export interface Mirror {
  /** What happens, as it happens. */
  readonly notices: Notices<MirrorNotices>;
  /** The admin API; to be asked without listening, too. */
  readonly api: Api;
  /** How the index came to be another one than was left; it is told as a notice when the mirror starts to listen. */
  readonly recovery: Recovery | undefined;
  /** Listens. Resolves to the addresses that were bound. @throws Failure. */
  start(): Promise<{ readonly registry: Address; readonly admin: Address }>;
  /** Lets running answers end, for at most `graceMs` (default 0), then ends everything. May be called more than once. */
  stop(options?: { readonly graceMs?: number }): Promise<void>;
}

/** The format of the cache directory: a change of it is a new directory, never a conversion in place. */
const FORMAT = "v1";

/**
 * Opens the cache and builds a mirror that does not listen yet.
 * @throws Failure `storage` (cache directory), `invalid` (a credential or certificate that cannot be read).
 */
export async function createMirror(config: Config, options: MirrorOptions = {}): Promise<Mirror> {
  const workers = countWorkers(config, options);
  const root = join(config.cache.dir, FORMAT);
  refuseNewerFormat(config.cache.dir, FORMAT);
  await makeDirectory(root);
  for (let attempt = 1; ; attempt += 1) {
    const index = openIndex(root, workers > 1);
    try {
      return await build(config, options, root, index, workers);
    } catch (error) {
      const isCured = isCuredByReopening(error);
      if (isCured) index.condemn(error);
      index.close();
      if (isCured && attempt === 1) continue;
      throw isDatabaseError(error) ? openingFailure(root, error) : error;
    }
  }
}

/** What answers clients: a listener here, or processes. */
interface Frontage {
  readonly notices: Notices<MirrorNotices>;
  readonly ready: () => boolean;
  readonly metricsText: () => Promise<string>;
  start(): Promise<Address>;
  stop(graceMs: number): Promise<void>;
}

async function build(
  config: Config,
  options: MirrorOptions,
  root: string,
  index: IndexAccess,
  workers: number,
): Promise<Mirror> {
  const { database } = index;
  const clock = options.clock ?? systemClock;
  const notices = new Notices<MirrorNotices>();
  const store = await DiskStore.open(root, options.files);
  const ticketSecret = randomBytes(32).toString("hex");
  const signature = `wharfinger (${randomBytes(8).toString("hex")})`;

  const repositories = new Repositories(database);
  const tags = new LenientTags(notices, database, repositories);
  const graph = new LenientGraph(notices, database, repositories);
  const relations = new Relations(database);
  const usage = new Usage(database, clock);
  const inventory = new LenientInventory(notices, database, true, (at) => usage.dateOf(at));
  const holdings = new Holdings(database, { inventory, tags, repositories });
  const sources = await openSources(config, { notices, clock, signature, network: options.network });

  const maxBytes = await maxBytesOf(config, root);
  const limits = { maxBytes, minFreeBytes: config.cache.minFree, shares: sharesOf(config, maxBytes) };
  const bytesOf = (upstream: string) => holdings.bytesOf(upstream);
  const probe = () => probeStore(options.files ?? systemFiles, root);
  const health = new DiskHealth({ clock, notices, probe });
  const partials = new Partials(database, repositories, findBootId());
  const keeping = new Keeping({ partials, store, maxBytes, clock, notices });
  const capacity = new Capacity({ store, inventory, limits, health, clock, notices, bytesOf, keeping });
  const shelf = new Shelf({ store, capacity, inventory, graph, clock, notices });
  const memory = { absences: Absences.ledger(), sightings: Sightings.ledger(), troubles: Troubles.ledger() };
  const absences = new Absences(clock, memory.absences);
  const sightings = new Sightings(clock, memory.sightings);
  const troubles = new Troubles(clock, memory.troubles);
  // With workers, followers are clients of theirs: they count them.
  const fills = new Fills({
    store,
    capacity,
    inventory,
    graph,
    keeping,
    clock,
    notices: workers > 1 ? quiet(notices) : notices,
  });
  const origin = new LocalOrigin({ tags, graph, shelf, fills, absences, sightings, troubles, clock, notices });
  const stopping = new AbortController();
  const pages = new AgedPages({ absences, clock, notices, signal: stopping.signal });
  const passes = new LocalPasses();
  const readers = new Readers();
  const care = openCare({
    config,
    root,
    index,
    database,
    repositories,
    tags,
    graph,
    inventory,
    holdings,
    usage,
    store,
    capacity,
    shelf,
    fills,
    readers,
    origin,
    keeping,
    pages,
    absences,
    sightings,
    troubles,
    sources,
    clock,
    notices,
    signal: stopping.signal,
  });

  const log = options.log === false ? undefined : createLog(config.log, undefined, workers > 1);
  const endLog = log === undefined ? () => {} : observeWithLog(log, notices);
  const metrics = createMetrics({
    notices,
    gauges: {
      cacheSizeBytes: () => inventory.bytes,
      cacheMaxBytes: () => maxBytes,
      cacheBlobs: () => inventory.blobs,
      cacheFreeBytes: () => capacity.freeBytes,
    },
    upstreams: new Map([...upstreamsOf(config)].map(([name, { endpoints }]) => [name, 1 + endpoints.length])),
  });

  const parts = { tags, graph, inventory, usage, shelf, store, capacity, origin, pages, passes, clock, notices };
  const frontage: Frontage =
    workers > 1
      ? openFronts(config, {
          ...parts,
          fills,
          readers,
          memory,
          metrics,
          sources,
          signature,
          ticketSecret,
          workers,
          options,
        })
      : await openHere();
  async function openHere(): Promise<Frontage> {
    const { routing } = sources;
    const listener = await openAnswering(config, {
      ...parts,
      repositories,
      relations,
      routing,
      signature,
      ticketSecret,
      limits: options.limits,
    });
    return {
      notices,
      ready: () => true,
      metricsText: () => metrics.text(),
      start: () => listener.start(config.listen),
      stop: (graceMs) => listener.stop(graceMs),
    };
  }

  const endHealth = health.observe(frontage.notices);
  const degradation = new Degradation({ health, store, notices: frontage.notices, clock });
  const instance = randomBytes(16).toString("hex");
  const readiness = (): Readiness => {
    if (phase !== "serving") return { ready: false, reason: phase };
    if (!frontage.ready()) return { ready: false, reason: "a worker is being replaced" };
    const { lack } = degradation;
    return { ready: true, reason: lack?.reason ?? phase, degraded: lack };
  };
  const operations = [
    ...care.operations,
    statusOperation({
      ...{ version: options.version ?? "unknown", instance, workers, readiness, startedAt: clock.now() },
      ...{ cacheDir: resolve(config.cache.dir), offline: config.offline, limits, now: () => clock.now() },
      stored: () => ({ blobs: inventory.blobs, bytes: inventory.bytes }),
      storedOf: () => holdings.totals(),
      upstreams: [...upstreamsOf(config).keys()],
      freeBytes: () => store.freeBytes().catch(() => undefined),
    }),
  ];
  const api = new Api({
    operations: [...operations, openapiOperation(operations, options.version ?? "unknown")],
    clock,
    signal: stopping.signal,
    onBug: (what, cause) => notices.emit("backgroundFailed", { what, cause }),
  });

  let phase: "starting" | "serving" | "draining" = "starting";
  const admin = new Listener(
    createAdminApi({
      metrics: async () => ({ contentType: metrics.contentType, text: await frontage.metricsText() }),
      readiness,
      api: { answer: (request) => api.answer(request), names: adminNames(config) },
    }),
    // What comes in through the admin API may be large, and slow.
    { ...DEFAULT_LIMITS, ...options.limits, requestTimeoutMs: 0 },
  );

  const end = async (graceMs: number): Promise<void> => {
    phase = "draining";
    // The admin listener stays up meanwhile: it tells that we drain.
    await frontage.stop(graceMs);
    stopping.abort(new Failure("overloaded", "the mirror is shutting down"));
    await api.settled();
    await origin.stop();
    await care.stop();
    await pages.settled();
    await admin.stop(0);
    await dropOwner(config.cache.dir, instance);
    await sources.close();
    endHealth();
    degradation.end();
    await health.stop();
    await store.stop();
    metrics.stop();
    endLog();
    index.close();
    await new Promise<void>((resolve) => (log === undefined ? resolve() : log.flush(() => resolve())));
  };

  let ended: Promise<void> | undefined;
  const stop = ({ graceMs = 0 }: { readonly graceMs?: number } = {}): Promise<void> => {
    ended ??= end(graceMs);
    return ended;
  };
  return {
    notices: frontage.notices,
    api,
    recovery: index.recovery,
    async start() {
      try {
        // Health first, so that whoever watches sees us starting.
        const boundAdmin = await admin.start(config.admin.listen);
        const boundRegistry = await frontage.start();
        phase = "serving";
        const { version = "unknown" } = options;
        await writeOwner(config.cache.dir, {
          instance,
          pid: process.pid,
          host: hostname(),
          version,
          admin: boundAdmin,
        });
        care.start();
        return { registry: boundRegistry, admin: boundAdmin };
      } catch (error) {
        await stop();
        throw error;
      }
    },
    stop,
  };
}

function quiet(notices: Notices<MirrorNotices>): Emitter<MirrorNotices> {
  return {
    emit(kind, fact) {
      if (kind !== "followerOpened" && kind !== "followerClosed") notices.emit(kind, fact);
    },
  };
}

async function maxBytesOf(config: Config, root: string): Promise<number> {
  const { maxSize } = config.cache;
  if (typeof maxSize === "number") return maxSize;
  const { blocks, bsize } = await statfs(root);
  return Math.floor((blocks * bsize * maxSize.percent) / 100);
}

/** What upstreams may have of the cache at most. */
function sharesOf(config: Config, maxBytes: number): Map<string, number> {
  const shares = new Map<string, number>();
  for (const [name, { maxSize }] of upstreamsOf(config)) {
    if (maxSize === null) continue;
    shares.set(name, typeof maxSize === "number" ? maxSize : Math.floor((maxBytes * maxSize.percent) / 100));
  }
  return shares;
}

async function makeDirectory(path: string): Promise<void> {
  try {
    await makeDirectories(path);
  } catch (cause) {
    throw new Failure("storage", `cannot make the cache directory: ${messageOf(cause)}`, { cause });
  }
}

/** Names, without ports, that the admin API is asked by. */
function adminNames({ admin: { listen, hosts } }: Config): ReadonlySet<string> {
  return new Set([listen.host, ...hosts].map((host) => host.toLowerCase().replace(/:\d+$/, "")));
}
