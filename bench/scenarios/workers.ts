/**
 * What a second worker is worth: warm manifests per second, two workers beside one.
 *
 * Measured where there are two cores for the service and two for its clients. Elsewhere clients and service would fight
 * for cores, so that it is computed from what a request costs: a service is full when its busiest process is.
 */
import { availableParallelism } from "node:os";
import { atLeast, ratios } from "../figures.ts";
import type { Sample } from "../samples.ts";
import type { Bench, Scenario } from "../scenario.ts";
import type { Served } from "../served.ts";
import { loadManifest } from "../wrk.ts";

const CONNECTIONS = 16;
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

    const capacities = new Map<string, number[]>();
    const measure = async (server: Served, seconds: number): Promise<Sample> => {
      const before = server.daemon.cpuSecondsEach();
      const path = server.manifestPath(manifest);
      const load = { server, path, accept: manifest.mediaType, seconds, connections: CONNECTIONS };
      const parts = await Promise.all(clients.map((core) => loadManifest({ ...load, core })));
      const perSecond = parts.reduce((sum, part) => sum + (part.perSecond ?? 0), 0);
      const spent = [...server.daemon.cpuSecondsEach()].map(([pid, cpu]) => cpu - (before.get(pid) ?? 0));
      const all = spent.reduce((sum, cpu) => sum + cpu, 0);
      // Requests for each second of the process that is full first.
      capacities.set(server.name, [...(capacities.get(server.name) ?? []), (perSecond * seconds) / Math.max(...spent)]);
      return { perSecond, cpuMicros: (all / (perSecond * seconds)) * 1e6 };
    };
    for (const server of [one, two]) await measure(server, 1);
    capacities.clear();
    await bench.rounds([two, one], quick ? 2 : 3, (server) => measure(server, quick ? 3 : 6));

    const figures = (server: Served) =>
      measured ? bench.series(server.name, "perSecond") : (capacities.get(server.name) ?? []);
    const note = measured
      ? "measured, two cores for the service and two for its clients"
      : "ESTIMATE: requests per processor second of the busiest process; too few cores to measure it";
    bench.find("manifests/s, 2 workers ÷ 1", ratios(figures(two), figures(one)), { bar: BAR, note });
  },
};
