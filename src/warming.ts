/**
 * Images fetched ahead of demand: on request, and by the schedules of the configuration, of which one runs at a time.
 */
import type { Operation } from "./api/operation.ts";
import { warmOperation } from "./api/warm.ts";
import { Warmer, type WarmParts, type WarmRequest } from "./bundle/warm.ts";
import type { Config } from "./config/schema.ts";
import { parsePlatform } from "./oci/platform.ts";
import type { Sources } from "./sources.ts";
import { Schedule } from "./upkeep/schedule.ts";

export interface WarmingParts extends Omit<WarmParts, "routing" | "offline"> {
  readonly config: Config;
  readonly sources: Sources;
}

export interface Warming {
  readonly operations: readonly Operation[];
  start(): void;
  stop(): Promise<void>;
}

/** Nobody waits for it: but the next one in the line does. */
const PATIENCE_MS = 60 * 60_000;

/** @throws Failure `invalid`: a platform that is none. */
export function openWarming(parts: WarmingParts): Warming {
  const { config, sources } = parts;
  const warmer = new Warmer({ ...parts, routing: sources.routing, offline: config.offline });
  let last: Promise<void> = Promise.resolve();
  const schedules = (config.offline ? [] : config.warm).map(({ images, platforms, allTags, schedule }, at) => {
    const request: WarmRequest = {
      references: images,
      platforms: platforms.map(parsePlatform),
      allTags: allTags ?? undefined,
      waitMs: PATIENCE_MS,
      scheduled: true,
    };
    const run = (signal: AbortSignal) => {
      last = last.catch(() => {}).then(() => warmAll(warmer, request, signal));
      return last;
    };
    return new Schedule({ name: `warm[${at}]`, cron: schedule, run }, parts);
  });
  return {
    operations: [warmOperation(warmer)],
    start() {
      for (const schedule of schedules) schedule.start();
    },
    async stop() {
      await Promise.all(schedules.map((schedule) => schedule.stop()));
      warmer.stop();
    },
  };
}

/** What comes of it is told to observers. */
async function warmAll(warmer: Warmer, request: WarmRequest, signal: AbortSignal): Promise<void> {
  signal.throwIfAborted();
  for await (const _ of warmer.run(request, signal));
}
