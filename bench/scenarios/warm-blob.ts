/**
 * The bulk of all work, sending stored blobs, in processor time per gigabyte, beside nginx with sendfile: as shipped, and
 * as it is where the kernel cannot copy (`sendfile: false`).
 */
import { atMost, type Bar, ratios } from "../figures.ts";
import type { MirrorSettings } from "../mirror.ts";
import type { Puller } from "../pull.ts";
import type { Sample } from "../samples.ts";
import { type Bench, cores, MIB, type Scenario } from "../scenario.ts";
import type { Served } from "../served.ts";

const SIZE_BYTES = 256 * MIB;
const CONNECTIONS = 4;
/** A client that needs this much of its core is what is measured, not the server. */
const CLIENT_LIMIT = 0.97;

export const warmBlob = scenario("warm-blob", "as shipped", {}, atMost(1.05, 0.85));
export const warmBlobPortable = scenario(
  "warm-blob-portable",
  "sendfile: false",
  { sendfile: false },
  atMost(1.35, 1.2),
);

function scenario(name: string, how: string, settings: MirrorSettings, bar: Bar): Scenario {
  return {
    name,
    measures: `warm 256 MiB blob, ${CONNECTIONS} connections, HTTP/1.1, ${how}: cpu-s/GB beside nginx with sendfile`,
    async run(bench: Bench) {
      const { library, quick } = bench.parts;
      const blob = await library.blob(SIZE_BYTES, 1);
      const puller = bench.puller(cores().client);
      const mirror = await bench.mirror({ core: cores().server, settings });
      // The others are no others there than they are beside the mirror as shipped.
      const kinds =
        settings.sendfile === false ? (["nginx"] as const) : (["nginx", "docker-registry", "files"] as const);
      const peers = await bench.peers(kinds, cores().server);
      const servers = await bench.right([mirror, ...peers], blob, puller);
      // Each connection takes the blob so often: 3.2 or 6.4 GB a round.
      const times = quick ? 3 : 6;
      const measure = (server: Served) =>
        pullAgainAndAgain(puller, server, server.blobPath(blob), times, SIZE_BYTES * CONNECTIONS * times);
      for (const server of servers)
        await pullAgainAndAgain(puller, server, server.blobPath(blob), 1, SIZE_BYTES * CONNECTIONS);
      await bench.rounds(servers, quick ? 2 : 6, measure);
      await bench.right(servers, blob, puller);

      const costs = (server: string) => bench.series(server, "cpuPerGigabyte");
      for (const peer of servers.filter((server) => server !== mirror)) {
        const bound = peer.name === "nginx" ? { bar } : {};
        bench.find(`cpu-s/GB, mirror ÷ ${peer.name}`, ratios(costs("mirror"), costs(peer.name)), bound);
      }
      for (const { name } of servers) {
        const used = bench.series(name, "clientCores");
        if (!used.some((share) => share >= CLIENT_LIMIT)) continue;
        const note = "the client's core is full: wall time and GB/s are the client's, cpu-s/GB is the server's";
        bench.find(`client's cores with ${name}`, used, { note });
      }
    },
  };
}

async function pullAgainAndAgain(
  puller: Puller,
  server: Served,
  path: string,
  times: number,
  expectedBytes: number,
): Promise<Sample> {
  const { daemon, port } = server;
  daemon.resetPeak();
  const cpuBefore = daemon.cpuSeconds();
  const pulled = await puller.run({ kind: "repeat", target: { port, path }, connections: CONNECTIONS, times });
  const { bytes, seconds, clientCpuSeconds } = pulled;
  if (bytes !== expectedBytes) throw new Error(`sent ${bytes} bytes instead of ${expectedBytes}`);
  return {
    cpuPerGigabyte: ((daemon.cpuSeconds() - cpuBefore) * 1e9) / bytes,
    wallSeconds: seconds,
    gigabytesPerSecond: bytes / 1e9 / seconds,
    residentMegabytes: daemon.peakBytes() / 1e6,
    serverCores: (daemon.cpuSeconds() - cpuBefore) / seconds,
    clientCores: clientCpuSeconds / seconds,
  };
}
