/**
 * The side of the clients where it is processes of its own (`workers`): what they are told, and what is told of them.
 */
import { availableParallelism } from "node:os";
import { Failure } from "./base/failure.ts";
import type { Notices } from "./base/notices.ts";
import type { Config } from "./config/schema.ts";
import type { FrontSettings } from "./front.ts";
import { type Address, Listener } from "./http/listener.ts";
import type { Absences } from "./mirror/absences.ts";
import type { Fills } from "./mirror/fills.ts";
import type { MirrorNotices } from "./mirror/notices.ts";
import type { Sightings } from "./mirror/sightings.ts";
import type { Troubles } from "./mirror/troubles.ts";
import { addToDead, textOf } from "./observe/added-metrics.ts";
import type { CountedMetrics, Metrics } from "./observe/metrics.ts";
import type { Digest } from "./oci/digest.ts";
import type { MirrorOptions } from "./options.ts";
import type { Sources } from "./sources.ts";
import { bindPort } from "./workers/boundport.ts";
import type { OriginSide } from "./workers/door.ts";
import { textOfError } from "./workers/failures.ts";
import { Fillings } from "./workers/fillings.ts";
import { Fronts } from "./workers/fronts.ts";
import { RelayedNotices } from "./workers/relayed.ts";

/** Processes that answer clients; 1 = none but this one. @throws Failure `invalid`. */
export function countWorkers(config: Config, options: MirrorOptions): number {
  if (options.clock === undefined && options.network === undefined)
    return config.workers === "auto" ? availableParallelism() : config.workers;
  if (config.workers === "auto" || config.workers === 1) return 1;
  throw new Failure(
    "invalid",
    `a clock or network of one's own is for one process: set workers to 1, not ${config.workers}`,
  );
}

export interface FrontageParts extends Omit<OriginSide, "sources" | "notices"> {
  readonly fills: Fills;
  readonly notices: Notices<MirrorNotices>;
  readonly memory: {
    readonly absences: ReturnType<typeof Absences.ledger>;
    readonly sightings: ReturnType<typeof Sightings.ledger>;
    readonly troubles: ReturnType<typeof Troubles.ledger>;
  };
  readonly metrics: Metrics;
  readonly sources: Sources;
  readonly signature: string;
  readonly ticketSecret: string;
  readonly workers: number;
  readonly options: MirrorOptions;
}

/** The program of a front has the suffix that this one has: `.ts` here, `.js` when built. */
const PROGRAM = new URL(import.meta.url.endsWith(".ts") ? "./front.ts" : "./front.js", import.meta.url);

export function openFronts(config: Config, parts: FrontageParts) {
  const { notices, memory, metrics, sources, signature, ticketSecret, workers, options } = parts;
  const relayed = new RelayedNotices(notices, (kind) => fronts.tell("relay", { kind }));
  const settings: FrontSettings = {
    config,
    signature,
    ticketSecret,
    log: options.log !== false,
    limits: options.limits,
    workers,
  };
  const fillings = new Fillings(parts.fills, (entry) => fronts.tell("filling", entry));
  let dead: Promise<CountedMetrics> = Promise.resolve([]);
  const fronts = new Fronts({
    count: workers,
    program: PROGRAM,
    side: { ...parts, sources: new Map(sources.all.map((source) => [source.name, source])) },
    notices,
    relayed,
    begin: () => ({
      settings,
      relayed: relayed.kinds,
      sightings: memory.sightings.entries(),
      absences: memory.absences.entries(),
      troubles: memory.troubles.entries().map(([key, trouble]) => [key, troubleText(trouble)]),
      fillings: fillings.entries(),
    }),
    bury: (counts) => {
      dead = dead.then((before) => addToDead(before, counts as CountedMetrics));
    },
  });

  memory.sightings.onChange((key, value) => fronts.tell("sighting", { key, value }));
  memory.absences.onChange((key, value) => fronts.tell("absence", { key, value }));
  memory.troubles.onChange((key, value) =>
    fronts.tell("trouble", { key, value: value === undefined ? undefined : troubleText(value) }),
  );
  notices.on("blobDamaged", ({ digest, reason, identity }) => {
    if (identity !== undefined) fronts.tell("condemned", { digest, reason, identity });
  });
  notices.on("fillStarted", ({ digest }) => fillings.changed(digest as Digest));
  notices.on("fillEnded", ({ digest }) => fillings.changed(digest as Digest));

  return {
    notices: relayed,
    ready: () => fronts.complete,
    async metricsText() {
      const own = await metrics.values();
      await fronts.recount();
      // In one step: a front is either among those that live or among the dead.
      const [counts, buried] = [fronts.counts as CountedMetrics[], dead];
      return await textOf([own, await buried, ...counts]);
    },
    async start(): Promise<Address> {
      const port = await bindPort(config.listen, async () => {
        const probe = new Listener(() => {});
        const bound = await probe.start(config.listen);
        await probe.stop(0);
        return bound;
      });
      await fronts.start(port);
      return { host: port.host, port: port.port };
    },
    stop: (graceMs: number) => fronts.stop(graceMs),
  };
}

function troubleText({ failure, until }: { failure: Failure; until: number }) {
  return { error: textOfError(failure), until };
}
