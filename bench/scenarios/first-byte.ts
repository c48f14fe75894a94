/**
 * What the mirror adds to the first byte of a cold blob: the same blobs by the same client, from the upstream and
 * through the mirror in turn.
 */
import { atMost } from "../figures.ts";
import { type Bench, MIB, type Scenario } from "../scenario.ts";

const BLOBS = 50;
const BAR_MS = 5;
/** Lets the fill before be synced, so that each is measured by itself. */
const PAUSE_MS = 25;

export const firstByte: Scenario = {
  name: "first-byte",
  measures: `first byte of ${BLOBS} cold blobs of 1 MiB, through the mirror minus direct`,
  async run(bench: Bench) {
    const { library, origin } = bench.parts;
    const puller = bench.puller();
    const blobs = await library.blobs(BLOBS, MIB, 100);
    const warmUp = await library.blob(MIB, 99);
    const { port } = await bench.mirror();
    // Connections, and code that runs for the first time, are the start's cost and not a blob's.
    const targets = [warmUp, ...blobs].flatMap(({ path }, index) => {
      const pair = [
        { port: origin.port, path },
        { port, path },
      ];
      return index % 2 === 0 ? pair : pair.reverse();
    });
    await origin.forget();
    const { answers } = await puller.run({ kind: "series", targets, pauseMs: PAUSE_MS });
    const failed = answers.find(({ status, bodyBytes }) => status !== 200 || bodyBytes !== MIB);
    if (failed !== undefined) throw new Error(`a blob was answered with ${failed.status}, ${failed.bodyBytes} bytes`);

    const timesOf = (of: number) =>
      answers.flatMap(({ firstByteMs }, index) => (targets[index]?.port === of ? [firstByteMs] : [])).slice(1);
    const [direct, mirrored] = [timesOf(origin.port), timesOf(port)];
    const added = mirrored.map((ms, index) => ms - (direct[index] ?? Number.NaN));
    bench.find("added to the first byte", added, { unit: "ms", bar: atMost(BAR_MS) });
    bench.find("first byte, direct", direct, { unit: "ms" });
    bench.find("first byte, mirror", mirrored, { unit: "ms" });
    // The direct ones are half of what a mirror that asks once per blob makes it.
    const extra = (await origin.count()).all - targets.length;
    bench.find("upstream requests besides one per blob", extra, { digits: 0 });
  },
};
