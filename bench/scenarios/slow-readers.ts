/**
 * Many clients that take their time must not cost the mirror what they have not taken.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { atMost, exactly } from "../figures.ts";
import { type Bench, MIB, type Scenario } from "../scenario.ts";

const SIZE_BYTES = 1024 * MIB;
const READERS = 2000;
const BYTES_PER_SECOND = 16 * 1024;
const SETTLE_MS = 500;

export const slowReaders: Scenario = {
  name: "slow-readers",
  measures: `${READERS} readers of one warm 1 GiB blob at 16 KiB/s each: resident memory`,
  async run(bench: Bench) {
    const { library, quick } = bench.parts;
    const blob = await library.blob(SIZE_BYTES, 1);
    const puller = bench.puller();
    const mirror = await bench.mirror();
    await bench.right([mirror], blob, puller);
    await mirror.daemon.quiet();
    const { daemon, port } = mirror;
    await sleep(SETTLE_MS);
    const idle = daemon.residentBytes();
    daemon.resetPeak();
    const got = await puller.run({
      kind: "trickle",
      target: { port, path: mirror.blobPath(blob) },
      readers: READERS,
      seconds: quick ? 8 : 20,
      bytesPerSecond: BYTES_PER_SECOND,
    });
    const peak = daemon.peakBytes() / 1e6;
    bench.sample("mirror", { residentMegabytes: peak });
    bench.find("readers that were served", got.reading, { digits: 0, bar: exactly(READERS) });
    const note = `${(idle / 1e6).toFixed(0)} MB before; the readers took ${(got.bytes / 1e6).toFixed(0)} MB`;
    bench.find("resident memory at the peak", peak, { unit: "MB", digits: 0, note, bar: atMost(250, 150) });
  },
};
