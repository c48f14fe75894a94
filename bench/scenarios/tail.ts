/**
 * How long a small request waits while the same server sends blobs as fast as it can: the 99th percentile under load
 * beside the idle one. Readers and prober are processes of their own on the client's core, and the prober goes first.
 */
import { atMost, percentile, ratios } from "../figures.ts";
import type { Sample } from "../samples.ts";
import { type Bench, cores, MIB, type Scenario } from "../scenario.ts";

const SIZE_BYTES = 256 * MIB;
const STREAMS = 16;
const PAUSE_MS = 2;
const LEAD_MS = 500;

export const tail: Scenario = {
  name: "tail",
  measures: `99th percentile of a warm manifest while ${STREAMS} blob streams run flat out, beside idle`,
  async run(bench: Bench) {
    const { library, quick } = bench.parts;
    const blob = await library.blob(SIZE_BYTES, 1);
    const manifest = await library.manifest();
    const mirror = await bench.mirror({ core: cores().server });
    const readers = bench.puller(cores().client);
    const prober = bench.puller(cores().client);
    readers.yieldToOthers();
    await bench.right([mirror], blob, readers);

    const { port } = mirror;
    const seconds = quick ? 3 : 6;
    const probe = async (): Promise<Sample> => {
      const target = { port, path: mirror.manifestPath(manifest) };
      const { totalMs } = await prober.run({ kind: "probe", target, seconds, pauseMs: PAUSE_MS });
      return { p99Ms: percentile(totalMs, 0.99) };
    };
    await probe();
    for (let round = 0; round < (quick ? 2 : 3); round += 1) {
      bench.sample("mirror, idle", await probe());
      const target = { port, path: mirror.blobPath(blob) };
      const lasting = seconds + (2 * LEAD_MS) / 1000;
      const flood = readers.run({ kind: "flood", target, connections: STREAMS, seconds: lasting });
      await new Promise((resolve) => setTimeout(resolve, LEAD_MS));
      const [sample, { bytes, seconds: lasted }] = await Promise.all([probe(), flood]);
      bench.sample("mirror, loaded", { ...sample, gigabytesPerSecond: bytes / 1e9 / lasted });
    }
    const p99 = (server: string) => bench.series(server, "p99Ms");
    bench.find("p99, loaded ÷ idle", ratios(p99("mirror, loaded"), p99("mirror, idle")), { bar: atMost(10, 4) });
  },
};
