/**
 * A miss: fetch, verify, store and pass on at once, beside docker-registry's proxy. Processor time is counted until the
 * server is quiet again, since both go on working behind the answer.
 */
import type { Served } from "../nginx.ts";
import { startRegistry } from "../registry.ts";
import { type Bench, MIB, median, type Scenario, spread } from "../scenario.ts";

const SIZE_BYTES = 256 * MIB;

export const coldBlob: Scenario = {
  name: "cold-blob",
  measures: "cold 256 MiB blob, one client: wall time and cpu-s/GB beside docker-registry's proxy",
  async run(bench: Bench) {
    const { dir, library, origin, puller, quick } = bench.parts;
    const blobs = await library.blobs(quick ? 2 : 5, SIZE_BYTES);
    const mirror = await bench.mirror();
    const proxy = bench.keep(await startRegistry({ name: "proxy-blob", dir, remoteUrl: origin.url }));

    const measure = async (path: string, { daemon, port }: Served, settled?: () => Promise<void>) => {
      await origin.forget();
      const cpuBefore = daemon.cpuSeconds();
      const { answers } = await puller.run({ kind: "series", targets: [{ port, path }], pauseMs: 0 });
      const [answer] = answers;
      if (answer?.status !== 200 || answer.bodyBytes !== SIZE_BYTES) throw new Error(`${daemon.name} failed`);
      await settled?.();
      await daemon.quiet();
      const cost = ((daemon.cpuSeconds() - cpuBefore) * 1e9) / SIZE_BYTES;
      return { seconds: answer.totalMs / 1000, cost, gets: (await origin.count()).blobGets };
    };
    const ours: Awaited<ReturnType<typeof measure>>[] = [];
    const theirs: typeof ours = [];
    // The first of each is a warm-up: connections, and code that runs for the first time.
    const warmUp = await library.blob(SIZE_BYTES, 50);
    await measure(warmUp.path, mirror, mirror.settled);
    await measure(warmUp.path, proxy);
    for (const { path } of blobs) {
      ours.push(await measure(path, mirror, mirror.settled));
      theirs.push(await measure(path, proxy));
    }
    const direct = await puller.run({
      kind: "series",
      targets: blobs.map(({ path }) => ({ port: origin.port, path })),
      pauseMs: 0,
    });
    for (const { path, digest } of blobs.slice(0, 1)) await puller.verify(mirror.port, path, digest);

    const wallRatios = ours.map(({ seconds }, index) => seconds / (theirs[index]?.seconds ?? Number.NaN));
    const costRatios = ours.map(({ cost }, index) => cost / (theirs[index]?.cost ?? Number.NaN));
    bench.find({ what: "wall, mirror ÷ proxy", value: median(wallRatios), text: spread(wallRatios) });
    bench.find({ what: "cpu-s/GB, mirror ÷ proxy", value: median(costRatios), text: spread(costRatios) });
    for (const [name, rounds] of [
      ["mirror", ours],
      ["docker-registry proxy", theirs],
    ] as const) {
      const walls = rounds.map(({ seconds }) => seconds);
      const costs = rounds.map(({ cost }) => cost);
      const gets = median(rounds.map((round) => round.gets));
      const text = `${spread(walls)} s, ${spread(costs)} cpu-s/GB, upstream GETs a blob: ${gets}`;
      bench.find({ what: name, value: median(costs), text });
    }
    const walls = direct.answers.map(({ totalMs }) => totalMs / 1000);
    bench.find({ what: "direct", value: median(walls), text: `${spread(walls)} s` });
  },
};
