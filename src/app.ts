/**
 * The composition root: from a configuration to objects, started in order and stopped in reverse.
 *
 * The network is never needed to start. What has been started when a start fails is stopped again.
 */

import { randomBytes } from "node:crypto";
import { mkdir, statfs } from "node:fs/promises";
import { join } from "node:path";
import { type Clock, systemClock } from "./base/clock.ts";
import { Failure, messageOf } from "./base/failure.ts";
import { Notices } from "./base/notices.ts";
import { readCredential } from "./config/credential.ts";
import { type Config, servesTls, upstreamsOf } from "./config/schema.ts";
import { createAdminApi } from "./http/admin.ts";
import { FastPath } from "./http/fastpath.ts";
import { openKernelCopy } from "./http/kernelcopy.ts";
import { type Address, DEFAULT_LIMITS, Listener, type ListenerLimits } from "./http/listener.ts";
import { createRegistryApi } from "./http/registry.ts";
import { Sending } from "./http/send.ts";
import { Certificates } from "./http/tls.ts";
import { type Database, damagedIndex, isDatabaseError, openDatabase } from "./meta/database.ts";
import { Graph } from "./meta/graph.ts";
import { Inventory } from "./meta/inventory.ts";
import { Repositories } from "./meta/repositories.ts";
import { Tags } from "./meta/tags.ts";
import { Absences } from "./mirror/absences.ts";
import { AgedPages } from "./mirror/aged.ts";
import { Blobs } from "./mirror/blobs.ts";
import { Capacity } from "./mirror/capacity.ts";
import { Fills } from "./mirror/fills.ts";
import { Listings } from "./mirror/listings.ts";
import { LocalOrigin } from "./mirror/local-origin.ts";
import { Manifests } from "./mirror/manifests.ts";
import type { MirrorNotices } from "./mirror/notices.ts";
import type { Source } from "./mirror/route.ts";
import { Shelf } from "./mirror/shelf.ts";
import { createLog, observeWithLog } from "./observe/log.ts";
import { createMetrics } from "./observe/metrics.ts";
import { DiskStore } from "./store/disk.ts";
import { createUpstream } from "./upstream/client.ts";
import { createRoutingTable } from "./upstream/routing.ts";

export interface Mirror {
  /** What happens, as it happens. */
  readonly notices: Notices<MirrorNotices>;
  /** Listens. Resolves to the addresses that were bound. @throws Failure. */
  start(): Promise<{ readonly registry: Address; readonly admin: Address }>;
  /** Lets running answers end, for at most `graceMs` (default 0), then ends everything. May be called more than once. */
  stop(options?: { readonly graceMs?: number }): Promise<void>;
}

export interface MirrorOptions {
  readonly clock?: Clock;
  readonly limits?: Partial<ListenerLimits>;
  /** False to leave standard output alone, for a mirror inside another program. */
  readonly log?: boolean;
}

/** The format of the cache directory: a change of it is a new directory, never a conversion in place. */
const FORMAT = "v1";

/**
 * Opens the cache and builds a mirror that does not listen yet.
 * @throws Failure `storage` (cache directory), `invalid` (a credential or certificate that cannot be read).
 */
export async function createMirror(config: Config, options: MirrorOptions = {}): Promise<Mirror> {
  const root = join(config.cache.dir, FORMAT);
  await makeDirectory(root);
  const database = openDatabase(root);
  try {
    return await build(config, options, root, database);
  } catch (error) {
    database.close();
    throw isDatabaseError(error) ? damagedIndex(root, error) : error;
  }
}

async function build(config: Config, options: MirrorOptions, root: string, database: Database): Promise<Mirror> {
  const clock = options.clock ?? systemClock;
  const notices = new Notices<MirrorNotices>();
  const store = await DiskStore.open(root);
  const signature = `wharfinger (${randomBytes(8).toString("hex")})`;

  const repositories = new Repositories(database);
  const tags = new Tags(database, repositories);
  const graph = new Graph(database, repositories);
  const inventory = new Inventory(database);

  const sources = await openSources(config, { notices, clock, signature });
  const routing = createRoutingTable(
    sources.map(({ source, hosts, repositories }) => ({ upstream: source, hosts, repositories })),
    config.defaultUpstream,
  );

  const maxBytes = await maxBytesOf(config, root);
  const limits = { maxBytes, minFreeBytes: config.cache.minFree };
  const capacity = new Capacity({ store, inventory, limits, clock, notices });
  const shelf = new Shelf({ store, capacity, inventory, graph, clock, notices });
  const absences = new Absences(clock);
  const fills = new Fills({ store, capacity, inventory, graph, clock, notices });
  const origin = new LocalOrigin({ tags, graph, shelf, fills, absences, clock, notices });
  const manifests = new Manifests({ tags, graph, inventory, shelf, origin, clock, notices, offline: config.offline });
  const blobs = new Blobs({ notices, store, inventory, graph, origin, capacity });
  const stopping = new AbortController();
  const pages = new AgedPages({ absences, clock, notices });
  const listings = new Listings({ pages, manifests, tags, repositories, signal: stopping.signal });

  const log = options.log === false ? undefined : createLog(config.log);
  const endLog = log === undefined ? () => {} : observeWithLog(log, notices);
  const metrics = createMetrics({
    notices,
    gauges: {
      cacheSizeBytes: () => inventory.bytes,
      cacheMaxBytes: () => maxBytes,
      cacheBlobs: () => inventory.blobs,
    },
  });

  let phase: "starting" | "serving" | "draining" = "starting";
  const listenerLimits = { ...DEFAULT_LIMITS, ...options.limits };
  const sending = new Sending(config.sendfile ? await openKernelCopy() : undefined);
  const registryApi = createRegistryApi({ manifests, blobs, listings, routing, notices, sending, signature });
  const fastPath = new FastPath({ manifests, routing, notices, keepAliveMs: listenerLimits.keepAliveMs });
  const certificates = servesTls(config.tls)
    ? await Certificates.open(tlsSettings(config.tls), { clock, notices })
    : undefined;
  const registry = new Listener(registryApi, listenerLimits, certificates ?? fastPath);
  const admin = new Listener(
    createAdminApi({
      metrics: async () => ({ contentType: metrics.contentType, text: await metrics.text() }),
      readiness: () => ({ ready: phase === "serving", reason: phase }),
    }),
    listenerLimits,
  );

  const end = async (graceMs: number): Promise<void> => {
    phase = "draining";
    // The admin listener stays up meanwhile: it tells that we drain.
    await registry.stop(graceMs);
    stopping.abort(new Failure("overloaded", "the mirror is shutting down"));
    await origin.stop();
    await pages.settled();
    await admin.stop(0);
    await Promise.all(sources.map(({ source }) => source.upstream.close()));
    await store.stop();
    metrics.stop();
    endLog();
    database.close();
    await new Promise<void>((resolve) => (log === undefined ? resolve() : log.flush(() => resolve())));
  };

  let ended: Promise<void> | undefined;
  const stop = ({ graceMs = 0 }: { readonly graceMs?: number } = {}): Promise<void> => {
    ended ??= end(graceMs);
    return ended;
  };
  return {
    notices,
    async start() {
      try {
        // Health first, so that whoever watches sees us starting.
        const boundAdmin = await admin.start(config.admin.listen);
        const boundRegistry = await registry.start(config.listen);
        phase = "serving";
        return { registry: boundRegistry, admin: boundAdmin };
      } catch (error) {
        await stop();
        throw error;
      }
    },
    stop,
  };
}

function tlsSettings({ cert, key, certificates, clientCa, clientAuth }: Config["tls"]) {
  const pairs = [{ cert, key }, ...certificates].flatMap((pair) =>
    pair.cert === undefined || pair.key === undefined ? [] : [{ cert: pair.cert, key: pair.key }],
  );
  return { certificates: pairs, clientCa, clientAuth: clientAuth ?? "required" };
}

interface OpenedSource {
  readonly source: Source;
  readonly hosts: readonly string[];
  readonly repositories: { readonly allow: readonly string[]; readonly deny: readonly string[] };
}

async function openSources(
  config: Config,
  surroundings: { notices: Notices<MirrorNotices>; clock: Clock; signature: string },
): Promise<OpenedSource[]> {
  const opened: OpenedSource[] = [];
  for (const [name, settings] of upstreamsOf(config)) {
    const credentials = config.offline ? [] : await Promise.all(settings.credentials.map((one) => readCredential(one)));
    const upstream = createUpstream(name, { ...settings, credentials, offline: config.offline }, surroundings);
    const maxPasses = Math.max(1, Math.floor(settings.limits.connections / 4));
    // Further connections for one blob are taken from what other blobs need.
    const segments = Math.min(settings.segments, maxPasses);
    const source: Source = { name, upstream, freshness: settings.freshness, maxPasses, segments };
    opened.push({ source, hosts: settings.hosts, repositories: settings.repositories });
  }
  return opened;
}

async function maxBytesOf(config: Config, root: string): Promise<number> {
  const { maxSize } = config.cache;
  if (typeof maxSize === "number") return maxSize;
  const { blocks, bsize } = await statfs(root);
  return Math.floor((blocks * bsize * maxSize.percent) / 100);
}

async function makeDirectory(path: string): Promise<void> {
  try {
    await mkdir(path, { recursive: true });
  } catch (cause) {
    throw new Failure("storage", `cannot make the cache directory: ${messageOf(cause)}`, { cause });
  }
}
