/**
 * Images fetched ahead of demand: on request, and as the configuration has it.
 */
import type { Operation } from "./api/operation.ts";
import { warmOperation } from "./api/warm.ts";
import { Warmer, type WarmParts } from "./bundle/warm.ts";
import type { Config } from "./config/schema.ts";
import type { Sources } from "./sources.ts";

export interface WarmingParts extends Omit<WarmParts, "routing" | "offline"> {
  readonly config: Config;
  readonly sources: Sources;
}

export interface Warming {
  readonly operations: readonly Operation[];
  stop(): Promise<void>;
}

export function openWarming(parts: WarmingParts): Warming {
  const { config, sources } = parts;
  const warmer = new Warmer({ ...parts, routing: sources.routing, offline: config.offline });
  return {
    operations: [warmOperation(warmer)],
    async stop() {
      warmer.stop();
    },
  };
}
