/**
 * Fifty clients and one cold blob: half of them ask at once, the others when the first has half of it. In the first round
 * every byte that every client received is compared with the right one, for the peers as well; the rounds after it are
 * timed and their bytes counted.
 */
import { atMost, exactly, ratios } from "../figures.ts";
import type { LibraryBlob } from "../library.ts";
import type { Sample } from "../samples.ts";
import { type Bench, MIB, type Scenario } from "../scenario.ts";
import type { Served } from "../served.ts";

const CLIENTS = 50;
const SIZE_BYTES = 256 * MIB;

export const herd: Scenario = {
  name: "herd",
  measures: `${CLIENTS} clients ask for one cold 256 MiB blob, half of them when it is halfway`,
  async run(bench: Bench) {
    const { library, origin, quick } = bench.parts;
    const puller = bench.puller();
    const rounds = quick ? 1 : 2;
    const blobs = await library.blobs(1 + rounds, SIZE_BYTES);
    const mirror = await bench.mirror();
    const idleBytes = mirror.daemon.residentBytes();
    const peers = await bench.peers(["docker-registry", "files"]);
    // Once each: the page cache has them for the first server too.
    const direct = blobs.map(({ path }) => ({ port: origin.port, path }));
    await puller.run({ kind: "series", targets: direct, pauseMs: 0 });

    const rightOfMirror: number[] = [];
    const getsOfMirror: number[] = [];
    const measure = async (server: Served, blob: LibraryBlob, compare: boolean): Promise<Sample> => {
      const { daemon, port } = server;
      await origin.forget();
      daemon.resetPeak();
      const cpuBefore = daemon.cpuSeconds();
      const target = { port, path: server.blobPath(blob) };
      const crowd = { sizeBytes: SIZE_BYTES, early: CLIENTS / 2, late: CLIENTS / 2 };
      const got = await puller.run({ kind: "herd", target, ...crowd, ...(compare ? { file: blob.file } : {}) });
      const cpuPerGigabyte = ((daemon.cpuSeconds() - cpuBefore) * 1e9) / (CLIENTS * SIZE_BYTES);
      const residentMegabytes = daemon.peakBytes() / 1e6;
      await server.settled();
      const { all, blobGets, bytes } = await origin.count();
      if (server === mirror) {
        rightOfMirror.push(got.right);
        getsOfMirror.push(blobGets);
      } else if (got.right !== CLIENTS) {
        throw new Error(`only ${got.right} of ${CLIENTS} received the right bytes`);
      }
      return {
        wallSeconds: got.seconds,
        cpuPerGigabyte,
        residentMegabytes,
        upstreamRequests: all,
        upstreamMegabytes: bytes / 1e6,
        clientCores: got.clientCpuSeconds / got.seconds,
      };
    };
    const servers: Served[] = [];
    const [first, ...others] = blobs;
    if (first === undefined) throw new Error("a blob to compare");
    for (const server of [mirror, ...peers]) {
      try {
        await measure(server, first, true);
        servers.push(server);
      } catch (error) {
        bench.drop(server, error);
      }
    }
    await bench.rounds(servers, rounds, (server, round) => {
      const blob = others[round];
      if (blob === undefined) throw new Error("a blob a round");
      return measure(server, blob, false);
    });

    bench.find("clients that received the right bytes", Math.min(...rightOfMirror), {
      digits: 0,
      bar: exactly(CLIENTS),
    });
    // The worst round: one that asked twice is not mended by one that asked once.
    bench.find("upstream GETs of the blob", Math.max(...getsOfMirror), { digits: 0, bar: exactly(1) });
    const walls = (server: string) => bench.series(server, "wallSeconds");
    for (const { name } of servers.filter((server) => server !== mirror)) {
      const bound = name === "docker-registry" ? { bar: atMost(0.5, 0.25) } : {};
      bench.find(`wall, mirror ÷ ${name}`, ratios(walls("mirror"), walls(name)), bound);
    }
    const note = `idle: ${(idleBytes / 1e6).toFixed(0)} MB`;
    const peaks = bench.series("mirror", "residentMegabytes");
    bench.find("resident memory at the peak", peaks, { unit: "MB", digits: 0, note, bar: atMost(300) });
  },
};
