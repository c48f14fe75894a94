/**
 * A blob that is far bigger than anything that may be held of it. At the origin it is a sparse file: no disk is read
 * there, and it takes no room; the mirror stores it in full.
 */
import { statfs } from "node:fs/promises";
import { atMost } from "../figures.ts";
import { type Bench, MIB, type Scenario, Skipped } from "../scenario.ts";

/** Beside the blob: what the mirror keeps free, and what else the benchmark writes. */
const SPARE_BYTES = 4 * 1024 * MIB;

export const hugeBlob: Scenario = {
  name: "huge-blob",
  measures: "one cold 8 GiB blob: resident memory over idle",
  async run(bench: Bench) {
    const { dir, library, origin, quick } = bench.parts;
    const sizeBytes = (quick ? 2 : 8) * 1024 * MIB;
    const { bavail, bsize } = await statfs(dir);
    const free = bavail * bsize;
    if (free < sizeBytes + SPARE_BYTES) {
      const [has, needs] = [free, sizeBytes + SPARE_BYTES].map((bytes) => (bytes / 2 ** 30).toFixed(0));
      throw new Skipped(`NOT MEASURED: ${has} GiB of disk are free, ${needs} are needed (TMPDIR names the place)`);
    }
    const blob = await library.sparseBlob(sizeBytes);
    const puller = bench.puller();
    const mirror = await bench.mirror();
    const { daemon, port } = mirror;
    // What the first pull of all costs once is no blob's.
    await bench.right([mirror], await library.blob(MIB, 99), puller);
    await daemon.quiet();
    const idle = daemon.residentBytes();
    daemon.resetPeak();
    await origin.forget();
    const cpuBefore = daemon.cpuSeconds();
    const target = { port, path: mirror.blobPath(blob) };
    const { answers } = await puller.run({ kind: "series", targets: [target], pauseMs: 0 });
    const [answer] = answers;
    if (answer?.status !== 200 || answer.bodyBytes !== sizeBytes) {
      throw new Error(`answered with ${answer?.status}, ${answer?.bodyBytes} bytes`);
    }
    await mirror.settled();
    const peak = daemon.peakBytes();
    const { all, bytes } = await origin.count();
    bench.sample("mirror", {
      wallSeconds: answer.totalMs / 1000,
      cpuPerGigabyte: ((daemon.cpuSeconds() - cpuBefore) * 1e9) / sizeBytes,
      residentMegabytes: peak / 1e6,
      upstreamRequests: all,
      upstreamMegabytes: bytes / 1e6,
    });
    const note = `${sizeBytes / 2 ** 30} GiB; ${(idle / 1e6).toFixed(0)} MB idle, ${(peak / 1e6).toFixed(0)} MB at the peak`;
    bench.find("resident memory over idle", (peak - idle) / 1e6, { unit: "MB", digits: 0, note, bar: atMost(80, 40) });
  },
};
