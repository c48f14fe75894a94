/**
 * The program of one front process: answers clients from the store, and asks its parent, the origin side, for all else.
 *
 * It follows its parent: signals are the parent's to act on (a terminal sends them to all of us), and when the parent is
 * gone, this ends at once and leaves the port.
 */
import { join } from "node:path";
import { openAnswering } from "./answering.ts";
import { systemClock } from "./base/clock.ts";
import { Notices } from "./base/notices.ts";
import type { Config } from "./config/schema.ts";
import type { Listener, ListenerLimits } from "./http/listener.ts";
import { openReader } from "./meta/database.ts";
import { damageText } from "./meta/recovery.ts";
import { Relations } from "./meta/relations.ts";
import { Repositories } from "./meta/repositories.ts";
import { LenientGraph, LenientInventory, LenientTags } from "./mirror/lenient.ts";
import type { MirrorNotices } from "./mirror/notices.ts";
import { Shelf } from "./mirror/shelf.ts";
import { createLog, observeWithLog } from "./observe/log.ts";
import { createMetrics } from "./observe/metrics.ts";
import { openSources } from "./sources.ts";
import { DiskStore } from "./store/disk.ts";
import { Channel } from "./workers/channel.ts";
import { textOfError } from "./workers/failures.ts";
import type { Beginning, DoorAsks, DoorPosts, FrontAsks, FrontPosts } from "./workers/messages.ts";
import {
  capacityThrough,
  graphThrough,
  inventoryThrough,
  pagesThrough,
  passesThrough,
  storeThrough,
} from "./workers/reading.ts";
import { RemoteFills } from "./workers/remote-fills.ts";
import { RemoteOrigin } from "./workers/remote-origin.ts";
import { RemoteReaders } from "./workers/remote-readers.ts";
import { RemoteUses } from "./workers/remote-uses.ts";

/** What the parent's side of the composition tells this one. */
export interface FrontSettings {
  readonly config: Config;
  readonly signature: string;
  readonly ticketSecret: string;
  readonly log: boolean;
  readonly limits: Partial<ListenerLimits> | undefined;
  readonly workers: number;
}

const FORMAT = "v1";
/** When the parent is gone; nobody is left to look at it. */
const ORPHANED = 1;

type Door = Channel<DoorAsks, DoorPosts>;

interface RunningFront {
  readonly origin: RemoteOrigin;
  counts: FrontAsks["counts"];
  relay(kind: keyof MirrorNotices): void;
  condemn(condemned: FrontPosts["condemned"]): void;
  stop(graceMs: number): Promise<void>;
}

const door: Door = new Channel({
  send(message, sent) {
    if (process.connected) process.send?.(message, undefined, undefined, () => sent?.());
    else sent?.();
  },
});

for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, () => {});
process.once("disconnect", () => process.exit(ORPHANED));

/** Posts that come before everything is built wait for it. */
let front: Promise<RunningFront> | undefined;
const onFront = (use: (running: RunningFront) => void) => {
  // What keeps a front from its beginning is told once, below.
  front?.then(use, () => {});
};
const forOrigin =
  <K extends keyof RemoteOrigin["take"]>(what: K) =>
  (value: FrontPosts[K]) =>
    onFront(({ origin }) => (origin.take[what] as (value: FrontPosts[K]) => void)(value));

const take: { readonly [K in keyof FrontPosts]: (value: FrontPosts[K], handle?: object) => void } = {
  begin: () => {},
  fill: forOrigin("fill"),
  progress: forOrigin("progress"),
  broken: forOrigin("broken"),
  sighting: forOrigin("sighting"),
  absence: forOrigin("absence"),
  trouble: forOrigin("trouble"),
  filling: forOrigin("filling"),
  condemned: (value) => onFront((running) => running.condemn(value)),
  relay: ({ kind }) => onFront((running) => running.relay(kind)),
  stop: ({ graceMs }) => {
    const end = () => door.post("counts", [], () => process.exit());
    if (front === undefined) end();
    else front.then((running) => void running.stop(graceMs), end);
  },
};
const answer: FrontAsks = {
  counts: async (asked) => (front === undefined ? [] : await (await front).counts(asked)),
};

process.on("message", (message: { post?: string; value?: unknown }, handle: object | undefined) => {
  if (message.post === "begin" && handle !== undefined) {
    front = begin(message.value as Beginning, handle);
    front.catch((error: unknown) => door.post("failed", textOfError(error), () => process.exit(1)));
  } else door.receive(message, { answer, take });
});

async function begin(beginning: Beginning, handle: object): Promise<RunningFront> {
  const { config, signature, ticketSecret, log: logged, limits, workers } = beginning.settings as FrontSettings;
  const clock = systemClock;
  const notices = new Notices<MirrorNotices>();
  const root = join(config.cache.dir, FORMAT);
  const database = openReader(root, (found) =>
    notices.emit("indexDamaged", { message: damageText(found), cause: found }),
  );
  const stored = DiskStore.reader(root);
  const repositories = new Repositories(database);
  const tags = new LenientTags(notices, database, repositories, false);
  const graph = graphThrough(door, new LenientGraph(notices, database, repositories));
  const inventory = inventoryThrough(door, new LenientInventory(notices, database, false));
  const readers = new RemoteReaders(door, clock, () => [...stored.openDigests(), ...fills.held()]);
  const store = storeThrough(door, stored, readers);
  const capacity = capacityThrough(door);
  const sources = await openSources(config, { notices, clock, signature }, 1 / workers);
  const shelf = new Shelf({ store, capacity, inventory, graph, clock, notices });
  const usage = new RemoteUses(door, clock);
  const fills = new RemoteFills({ channel: door, pathOf: (digest) => stored.pathOf(digest), notices, readers });
  const origin = new RemoteOrigin({ channel: door, fills, clock }, beginning);
  const log = logged ? createLog(config.log, undefined, true) : undefined;
  if (log !== undefined) observeWithLog(log, notices);
  const metrics = createMetrics({ notices, gauges: undefined });
  const listener: Listener = await openAnswering(config, {
    tags,
    graph,
    inventory,
    usage,
    shelf,
    store,
    capacity,
    origin,
    clock,
    notices,
    repositories,
    signature,
    limits,
    relations: new Relations(database),
    pages: pagesThrough(door),
    passes: passesThrough(door),
    ticketSecret,
    routing: sources.routing,
  });
  const relayed = new Set<keyof MirrorNotices>();
  const relay = (kind: keyof MirrorNotices) => {
    if (!relayed.has(kind)) notices.on(kind, (fact) => door.post("notice", { kind, ...factOf(fact) }));
    relayed.add(kind);
  };
  for (const kind of beginning.relayed) relay(kind);
  await listener.startOn(handle);
  door.post("listening", undefined);
  return {
    origin,
    relay,
    condemn({ digest, reason, identity }) {
      stored.disown(digest, reason, identity);
      fills.condemned(digest, reason);
      shelf.forget(digest);
    },
    counts: () => metrics.values(),
    async stop(graceMs) {
      await listener.stop(graceMs);
      await sources.close();
      usage.stop();
      readers.stop();
      const counts = await metrics.values();
      await new Promise<void>((resolve) => (log === undefined ? resolve() : log.flush(() => resolve())));
      database.close();
      // The parent learns of everything before it learns of the end.
      door.post("counts", counts, () => process.exit());
    },
  };
}

/** Errors are sent as what they say. */
function factOf(fact: unknown): Pick<DoorPosts["notice"], "fact" | "error"> {
  if (typeof fact !== "object" || fact === null || !("error" in fact)) return { fact, error: undefined };
  if (!(fact.error instanceof Error)) return { fact, error: undefined };
  return { fact: { ...fact, error: undefined }, error: textOfError(fact.error) };
}
