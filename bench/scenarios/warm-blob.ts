/**
 * The bulk of all work, sending stored blobs, in processor time per gigabyte, beside nginx with sendfile. In turn, since
 * absolute figures move with the machine's mood and ratios do not.
 */
import { type Served, startNginx } from "../nginx.ts";
import { type Bench, MIB, median, type Scenario, spread } from "../scenario.ts";

const SIZE_BYTES = 256 * MIB;
const CONNECTIONS = 4;
const BAR = 1.5;

export const warmBlob: Scenario = {
  name: "warm-blob",
  measures: `warm 256 MiB blob, ${CONNECTIONS} connections, HTTP/1.1: cpu-s/GB beside nginx with sendfile`,
  async run(bench: Bench) {
    const { dir, library, puller, quick } = bench.parts;
    const blob = await library.blob(SIZE_BYTES, 1);
    const nginx = bench.keep(await startNginx({ name: "nginx-blob", dir, library }));
    const mirror = await bench.mirror();
    for (const { port } of [mirror, nginx]) await puller.verify(port, blob.path, blob.digest);
    await mirror.settled();

    // Each connection takes the blob so often: 4.3 or 8.6 GB a round.
    const times = quick ? 4 : 8;
    const measure = async ({ daemon, port }: Served) => {
      const cpuBefore = daemon.cpuSeconds();
      const target = { port, path: blob.path };
      const pulled = await puller.run({ kind: "repeat", target, connections: CONNECTIONS, times });
      const { bytes, seconds, clientCpuSeconds } = pulled;
      if (bytes !== SIZE_BYTES * CONNECTIONS * times) throw new Error(`${daemon.name} sent ${bytes} bytes`);
      const perGigabyte = 1e9 / bytes;
      return {
        cost: (daemon.cpuSeconds() - cpuBefore) * perGigabyte,
        clientCost: clientCpuSeconds * perGigabyte,
        rate: bytes / 1e9 / seconds,
      };
    };
    const ours: Awaited<ReturnType<typeof measure>>[] = [];
    const theirs: typeof ours = [];
    for (let round = 0; round < (quick ? 2 : 6); round += 1) {
      ours.push(await measure(mirror));
      theirs.push(await measure(nginx));
    }
    const ratios = ours.map(({ cost }, round) => cost / (theirs[round]?.cost ?? Number.NaN));
    bench.find({
      what: "mirror ÷ nginx",
      value: median(ratios),
      text: spread(ratios),
      bar: { text: `≤ ${BAR}`, held: median(ratios) <= BAR },
    });
    for (const [name, rounds] of [
      ["mirror", ours],
      ["nginx", theirs],
    ] as const) {
      const costs = rounds.map(({ cost }) => cost);
      const rates = rounds.map(({ rate }) => rate);
      const client = median(rounds.map(({ clientCost }) => clientCost)).toFixed(2);
      bench.find({
        what: name,
        value: median(costs),
        text: `${spread(costs, 3)} cpu-s/GB, ${spread(rates)} GB/s; the client spends ${client} cpu-s/GB`,
      });
    }
    await puller.verify(mirror.port, blob.path, blob.digest);
  },
};
