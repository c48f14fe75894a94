/**
 * A miss: fetch, verify, store and pass on at once, beside docker-registry's proxy. Processor time is counted until the
 * server is quiet again, since all of them go on working behind the answer. Nothing is pinned.
 */
import { atMost, ratios } from "../figures.ts";
import type { LibraryBlob } from "../library.ts";
import type { Sample } from "../samples.ts";
import { type Bench, MIB, type Scenario } from "../scenario.ts";
import type { Served } from "../served.ts";

const SIZE_BYTES = 256 * MIB;
const BAR = atMost(1, 0.7);
/** Of its own: the warm-up must not be a blob that is measured. */
const WARM_UP_SEED = 50;

export const coldBlob: Scenario = {
  name: "cold-blob",
  measures: "cold 256 MiB blob, one client: wall time and cpu-s/GB beside docker-registry's proxy",
  async run(bench: Bench) {
    const { library, origin, quick } = bench.parts;
    const puller = bench.puller();
    const blobs = await library.blobs(quick ? 2 : 5, SIZE_BYTES);
    const mirror = await bench.mirror();
    const peers = await bench.peers(["docker-registry", "files"]);

    const pull = async (port: number, path: string) => {
      const { answers } = await puller.run({ kind: "series", targets: [{ port, path }], pauseMs: 0 });
      const [answer] = answers;
      if (answer?.status === 200 && answer.bodyBytes === SIZE_BYTES) return answer.totalMs / 1000;
      throw new Error(`answered with ${answer?.status}, ${answer?.bodyBytes} bytes`);
    };
    const measure = async (server: Served, blob: LibraryBlob): Promise<Sample> => {
      const { daemon, port } = server;
      await origin.forget();
      daemon.resetPeak();
      const cpuBefore = daemon.cpuSeconds();
      const wallSeconds = await pull(port, server.blobPath(blob));
      await server.settled();
      await daemon.quiet();
      const cpuPerGigabyte = ((daemon.cpuSeconds() - cpuBefore) * 1e9) / SIZE_BYTES;
      const residentMegabytes = daemon.peakBytes() / 1e6;
      const { all, bytes } = await origin.count();
      return { cpuPerGigabyte, wallSeconds, residentMegabytes, upstreamRequests: all, upstreamMegabytes: bytes / 1e6 };
    };
    // The first of each is a warm-up, whose bytes are checked: connections, and code that runs for the first time.
    const warmUp = await library.blob(SIZE_BYTES, WARM_UP_SEED);
    const servers = await bench.right([mirror, ...peers], warmUp, puller);
    // The origin's page cache has all of them, for the first server too.
    for (const { path } of blobs) bench.sample("direct", { wallSeconds: await pull(origin.port, path) });
    await bench.rounds(servers, blobs.length, (server, round) => {
      const blob = blobs[round];
      if (blob === undefined) throw new Error("a blob a round");
      return measure(server, blob);
    });
    // What was stored is what was fetched.
    await bench.right(servers, blobs[0] ?? warmUp, puller);

    const of = (server: string) => ({
      costs: bench.series(server, "cpuPerGigabyte"),
      walls: bench.series(server, "wallSeconds"),
    });
    for (const { name } of servers.filter((server) => server !== mirror)) {
      const bound = name === "docker-registry" ? { bar: BAR } : {};
      bench.find(`cpu-s/GB, mirror ÷ ${name}`, ratios(of("mirror").costs, of(name).costs), bound);
      bench.find(`wall, mirror ÷ ${name}`, ratios(of("mirror").walls, of(name).walls));
    }
    bench.find("wall, mirror ÷ direct", ratios(of("mirror").walls, of("direct").walls));
  },
};
