/**
 * Fifty clients and one cold blob: half of them ask at once, the others when the fill is about halfway.
 */
import { type Bench, MIB, type Scenario } from "../scenario.ts";

const CLIENTS = 50;
const SIZE_BYTES = 256 * MIB;
const MEMORY_BYTES = 300e6;

export const herd: Scenario = {
  name: "herd",
  measures: `${CLIENTS} clients ask for one cold 256 MiB blob, half of them when it is halfway`,
  async run(bench: Bench) {
    const { library, origin, puller } = bench.parts;
    const blob = await library.blob(SIZE_BYTES, 1);
    const direct = { port: origin.port, path: blob.path };
    // Twice: the first one finds out whether the page cache has the file.
    const { answers } = await puller.run({ kind: "series", targets: [direct, direct], pauseMs: 0 });
    const directSeconds = (answers.at(-1)?.totalMs ?? 0) / 1000;

    const { daemon, port, settled } = await bench.mirror();
    await origin.forget();
    const idleBytes = daemon.residentBytes();
    daemon.resetPeak();
    const cpuBefore = daemon.cpuSeconds();
    const got = await puller.run({
      kind: "herd",
      target: { port, path: blob.path },
      file: blob.file,
      early: CLIENTS / 2,
      late: CLIENTS / 2,
    });
    const cpuSeconds = daemon.cpuSeconds() - cpuBefore;
    const peakBytes = daemon.peakBytes();
    await settled();
    const { blobGets } = await origin.count();

    bench.find({
      what: "clients that received the right bytes",
      value: got.right,
      text: `${got.right} of ${CLIENTS}`,
      bar: { text: `all ${CLIENTS}`, held: got.right === CLIENTS },
    });
    bench.find({
      what: "upstream GETs",
      value: blobGets,
      text: `${blobGets}`,
      bar: { text: "= 1", held: blobGets === 1 },
    });
    bench.find({
      what: "peak resident memory of the mirror",
      value: peakBytes,
      text: `${(peakBytes / 1e6).toFixed(0)} MB (idle: ${(idleBytes / 1e6).toFixed(0)} MB)`,
      bar: { text: "< 300 MB", held: peakBytes < MEMORY_BYTES },
    });
    bench.find({
      what: "wall time",
      value: got.seconds,
      text:
        `${got.seconds.toFixed(2)} s until all ${CLIENTS} had it, the first after ${got.firstSeconds.toFixed(2)} s, ` +
        `the late half asked after ${got.joinedSeconds.toFixed(2)} s; one direct download: ${directSeconds.toFixed(2)} s`,
    });
    const cost = (cpuSeconds * 1e9) / (CLIENTS * SIZE_BYTES);
    bench.find({
      what: "processor time of the mirror",
      value: cost,
      text: `${cpuSeconds.toFixed(2)} s, ${cost.toFixed(2)} cpu-s per GB sent`,
    });
  },
};
