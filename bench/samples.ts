/**
 * What one round of one server yielded, and rounds of several servers taken in turn.
 *
 * In turn (A B C A B C), because a machine's mood lasts longer than a round.
 */
import type { Served } from "./served.ts";

/** Measure → how a table heads it and how many digits it needs. */
export const MEASURES = {
  cpuPerGigabyte: { label: "cpu-s/GB", digits: 2 },
  wallSeconds: { label: "wall, s", digits: 2 },
  perSecond: { label: "requests/s", digits: 0 },
  cpuMicros: { label: "cpu µs/request", digits: 1 },
  p99Ms: { label: "p99, ms", digits: 2 },
  gigabytesPerSecond: { label: "GB/s", digits: 2 },
  residentMegabytes: { label: "resident, MB", digits: 0 },
  upstreamRequests: { label: "upstream requests", digits: 0 },
  upstreamMegabytes: { label: "upstream, MB", digits: 1 },
  serverCores: { label: "server, cores", digits: 2 },
  clientCores: { label: "client, cores", digits: 2 },
} as const;

export type Measure = keyof typeof MEASURES;
export type Sample = Readonly<Partial<Record<Measure, number>>>;
/** By the server's name, round by round. */
export type Samples = ReadonlyMap<string, readonly Sample[]>;

export function seriesOf(samples: Samples, server: string, measure: Measure): number[] {
  return (samples.get(server) ?? []).flatMap((sample) => sample[measure] ?? []);
}

/** Runs one after the other. */
export function joinSamples(runs: readonly Samples[]): Samples {
  const joined = new Map<string, Sample[]>();
  for (const run of runs) {
    for (const [server, rounds] of run) joined.set(server, [...(joined.get(server) ?? []), ...rounds]);
  }
  return joined;
}

export interface InTurn {
  readonly servers: readonly Served[];
  readonly rounds: number;
  measure(server: Served, round: number): Promise<Sample>;
  /** Takes note of a round. */
  keep(server: Served, sample: Sample): void;
  /** Decides on a server that failed: returns where the others go on without it, throws where that makes no sense. */
  drop(server: Served, error: unknown): void;
}

export async function inTurn({ servers, rounds, measure, keep, drop }: InTurn): Promise<void> {
  const dropped = new Set<Served>();
  for (let round = 0; round < rounds; round += 1) {
    for (const server of servers) {
      if (dropped.has(server)) continue;
      try {
        keep(server, await measure(server, round));
      } catch (error) {
        dropped.add(server);
        drop(server, error);
      }
    }
  }
}
