/**
 * What a second worker is worth: warm manifests per second, two workers beside one.
 *
 * Measured where there are two cores for the service and two for its clients. Elsewhere clients and service would fight
 * for cores, so that it is computed from what a request costs in all processes of the service. That is true only where
 * the work is shared evenly: the busiest process's share is shown beside it.
 */
import { availableParallelism } from "node:os";
import { atLeast, ratios } from "../figures.ts";
import type { Sample } from "../samples.ts";
import type { Bench, Scenario } from "../scenario.ts";
import type { Served } from "../served.ts";
import { loadManifest } from "../wrk.ts";

const CONNECTIONS = 64;
const BAR = atLeast(1.6, 1.9);

export const workers: Scenario = {
  name: "workers",
  measures: "warm manifests per second, two workers beside one",
  async run(bench: Bench) {
    const { library, quick } = bench.parts;
    const manifest = await library.manifest();
    const measured = availableParallelism() >= 4;
    const serverCores = measured ? "0,1" : undefined;
    const clients = measured ? [2, 3] : [undefined, undefined];
    const one = await bench.mirror({ core: serverCores, label: "mirror, workers: 1" });
    const two = await bench.mirror({ core: serverCores, label: "mirror, workers: 2", settings: { workers: 2 } });

    const shares = new Map<string, number[]>();
    const measure = async (server: Served, seconds: number): Promise<Sample> => {
      const before = server.daemon.cpuSecondsEach();
      const path = server.manifestPath(manifest);
      const load = { server, path, accept: manifest.mediaType, seconds, connections: CONNECTIONS };
      const parts = await Promise.all(clients.map((core) => loadManifest({ ...load, core })));
      const perSecond = parts.reduce((sum, part) => sum + (part.perSecond ?? 0), 0);
      const spent = [...server.daemon.cpuSecondsEach()].map(([pid, cpu]) => cpu - (before.get(pid) ?? 0));
      const all = spent.reduce((sum, cpu) => sum + cpu, 0);
      shares.set(server.name, [...(shares.get(server.name) ?? []), Math.max(...spent) / all]);
      return { perSecond, cpuMicros: (all / (perSecond * seconds)) * 1e6 };
    };
    for (const server of [one, two]) await measure(server, 1);
    shares.clear();
    await bench.rounds([two, one], quick ? 2 : 3, (server) => measure(server, quick ? 3 : 6));

    const rates = (server: Served) => bench.series(server.name, "perSecond");
    const costs = (server: Served) => bench.series(server.name, "cpuMicros");
    const estimates = ratios(costs(one), costs(two)).map((ratio) => 2 * ratio);
    const note = measured
      ? "measured, two cores for the service and two for its clients"
      : "ESTIMATE from processor time per request in all processes; too few cores to measure it";
    const gain = measured ? ratios(rates(two), rates(one)) : estimates;
    bench.find("manifests/s, 2 workers ÷ 1", gain, { bar: BAR, note });
    const even = "0.5 is even; more limits what a second worker is worth";
    bench.find("busiest process's share of the work", shares.get(two.name) ?? [], { note: even });
  },
};
