/**
 * The commonest request there is, answered from the cache: a manifest by its tag. Server and client on a core each, so
 * that it is one core's capacity that is counted.
 */
import { atLeast, exactly, median, ratios } from "../figures.ts";
import type { LibraryManifest } from "../library.ts";
import { startNginx } from "../nginx.ts";
import { MissingProgram } from "../programs.ts";
import type { Sample } from "../samples.ts";
import { type Bench, cores, type Scenario } from "../scenario.ts";
import type { Served } from "../served.ts";
import { loadManifest } from "../wrk.ts";

const CONNECTIONS = 16;
const WARM_UP_SECONDS = 2;
const BARS = { nginx: atLeast(0.6, 0.8), "docker-registry": atLeast(80, 120) };
/** Below it, requests per second are not the server's capacity. */
const SATURATED = 0.9;
const LOGGING = "nginx with its access log";

export const manifest: Scenario = {
  name: "manifest",
  measures: `warm manifest by tag, requests per second on one core, ${CONNECTIONS} connections`,
  async run(bench: Bench) {
    const { dir, library, origin, quick } = bench.parts;
    const wanted = await library.manifest();
    const core = cores().server;
    const mirror = await bench.mirror({ core });
    const peers = await bench.peers(["nginx", "docker-registry", "files"], core);
    try {
      const options = { name: bench.fileName("nginx"), dir, library, core, accessLog: true, label: LOGGING };
      peers.push(bench.keep(await startNginx(options)));
    } catch (error) {
      // That nginx is missing has been told.
      if (!(error instanceof MissingProgram)) throw error;
    }

    const seconds = quick ? 2 : 6;
    let upstreamOfMirror = 0;
    const measure = async (server: Served): Promise<Sample> => {
      await origin.forget();
      const sample = await load(server, wanted, seconds);
      const { all, bytes } = await origin.count();
      if (server === mirror) upstreamOfMirror += all;
      return { ...sample, upstreamRequests: all, upstreamMegabytes: bytes / 1e6 };
    };
    const servers: Served[] = [];
    for (const server of [mirror, ...peers]) {
      try {
        await checkManifest(bench, server, wanted);
        await load(server, wanted, WARM_UP_SECONDS);
        await server.settled();
        servers.push(server);
      } catch (error) {
        bench.drop(server, error);
      }
    }
    await bench.rounds(servers, quick ? 2 : 3, measure);

    const rates = (server: string) => bench.series(server, "perSecond");
    bench.find("requests per second", rates("mirror"), { digits: 0 });
    for (const [name, bar] of Object.entries(BARS)) {
      bench.find(`requests/s, mirror ÷ ${name}`, ratios(rates("mirror"), rates(name)), { bar });
    }
    for (const { name } of servers.filter((server) => server !== mirror && !Object.hasOwn(BARS, server.name))) {
      bench.find(`requests/s, mirror ÷ ${name}`, ratios(rates("mirror"), rates(name)));
    }
    // wrk on one core drives nginx no further than about half of what nginx can do: what a request costs tells more.
    const costs = (server: string) => bench.series(server, "cpuMicros");
    bench.find("processor time of a request, mirror ÷ nginx", ratios(costs("mirror"), costs("nginx")));
    for (const { name } of servers) {
      const used = bench.series(name, "serverCores");
      if (name.startsWith("docker") || median(used) >= SATURATED) continue;
      const note = "its core is not full: the client or the machine is the limit";
      bench.find(`cores that ${name} used`, used, { note });
    }
    bench.find("upstream requests meanwhile", upstreamOfMirror, { digits: 0, bar: exactly(0) });
  },
};

/** A manifest is small: hashed by the same client that hashes blobs. */
async function checkManifest(bench: Bench, server: Served, wanted: LibraryManifest): Promise<void> {
  await using puller = bench.puller();
  await puller.verify(server.port, server.manifestPath(wanted), wanted.digest, wanted.mediaType);
}

async function load(server: Served, wanted: LibraryManifest, seconds: number): Promise<Sample> {
  return loadManifest({
    server,
    path: server.manifestPath(wanted),
    accept: wanted.mediaType,
    seconds,
    connections: CONNECTIONS,
    core: cores().client,
  });
}
