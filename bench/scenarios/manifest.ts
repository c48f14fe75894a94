/**
 * The commonest request there is, answered from the cache: a manifest by its tag. Server and client on a core each, so
 * that it is one core's capacity that is counted.
 */
import type { LibraryManifest } from "../library.ts";
import { plainPath, type Served, startNginx } from "../nginx.ts";
import { MissingProgram } from "../programs.ts";
import { startRegistry } from "../registry.ts";
import { type Bench, cores, median, type Scenario, spread } from "../scenario.ts";
import { runWrk } from "../wrk.ts";

const BAR_PER_SECOND = 10_000;
const CONNECTIONS = 16;
const WARM_UP_SECONDS = 2;

export const manifest: Scenario = {
  name: "manifest",
  measures: `warm manifest by tag, requests per second on one core, ${CONNECTIONS} connections`,
  async run(bench: Bench) {
    const { library, origin, quick } = bench.parts;
    const wanted = await library.manifest();
    const mirror = await bench.mirror(cores().server);
    await load(mirror, wanted.path, wanted, WARM_UP_SECONDS);
    await mirror.settled();
    await origin.forget();

    const nginx = await startPeer(bench, () =>
      startNginx({ name: "nginx-manifest", dir: bench.parts.dir, library, core: cores().server }),
    );
    const seconds = quick ? 4 : 10;
    const ours: Loaded[] = [];
    const theirs: Loaded[] = [];
    for (let round = 0; round < (quick ? 1 : 3); round += 1) {
      ours.push(await load(mirror, wanted.path, wanted, seconds));
      if (nginx !== undefined) theirs.push(await load(nginx, plainPath(wanted), wanted, seconds));
    }
    const upstream = (await origin.count()).all;

    const rates = ours.map(({ perSecond }) => perSecond);
    bench.find({
      what: "requests per second",
      value: median(rates),
      text: `${spread(rates, 0)}, p99 ${ours.map(({ p99 }) => p99).join(" ")}`,
      bar: { text: `≥ ${BAR_PER_SECOND}`, held: median(rates) >= BAR_PER_SECOND },
    });
    bench.find({
      what: "upstream requests meanwhile",
      value: upstream,
      text: `${upstream}`,
      bar: { text: "= 0", held: upstream === 0 },
    });
    const costs = ours.map(({ cpuMicros }) => cpuMicros);
    bench.find({ what: "processor time per request", value: median(costs), text: `${spread(costs, 1)} µs` });
    if (theirs.length > 0) {
      const nginxRates = theirs.map(({ perSecond }) => perSecond);
      bench.find({ what: "nginx, static file of that size", value: median(nginxRates), text: spread(nginxRates, 0) });
      const ratio = median(rates) / median(nginxRates);
      bench.find({ what: "mirror ÷ nginx", value: ratio, text: ratio.toFixed(2) });
    }

    const proxy = await startPeer(bench, () => {
      const { dir } = bench.parts;
      return startRegistry({ name: "proxy-manifest", dir, remoteUrl: origin.url, core: cores().server });
    });
    if (proxy === undefined) return;
    await load(proxy, wanted.path, wanted, WARM_UP_SECONDS);
    const { perSecond } = await load(proxy, wanted.path, wanted, seconds);
    bench.find({ what: "docker-registry proxy", value: perSecond, text: `${perSecond.toFixed(0)} (asks upstream)` });
  },
};

interface Loaded {
  readonly perSecond: number;
  readonly cpuMicros: number;
  readonly p99: string;
}

async function load(server: Served, path: string, wanted: LibraryManifest, seconds: number): Promise<Loaded> {
  const url = `http://127.0.0.1:${server.port}${path}`;
  const cpuBefore = server.daemon.cpuSeconds();
  const result = await runWrk({
    url,
    seconds,
    connections: CONNECTIONS,
    accept: wanted.mediaType,
    core: cores().client,
  });
  const cpuSeconds = server.daemon.cpuSeconds() - cpuBefore;
  if (result.failures > 0) throw new Error(`${server.daemon.name}: ${result.failures} requests failed`);
  const perSecond = result.requestsPerSecond;
  return { perSecond, cpuMicros: (cpuSeconds / (perSecond * seconds)) * 1e6, p99: result.p99 };
}

/** A peer that is missing costs its own figures only. */
async function startPeer(bench: Bench, start: () => Promise<Served>): Promise<Served | undefined> {
  try {
    return bench.keep(await start());
  } catch (error) {
    if (!(error instanceof MissingProgram)) throw error;
    bench.find({ what: "peer", value: Number.NaN, text: `missing: ${error.message}` });
    return undefined;
  }
}
