/**
 * The upstream dies in the middle of a large blob that many wait for, and comes back after a while: nobody may get less
 * than all of it, or anything wrong, and what was received must not be asked for again.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { atMost, exactly } from "../figures.ts";
import { MortalLine } from "../mortal.ts";
import { type Bench, MIB, type Scenario } from "../scenario.ts";

const CLIENTS = 20;
const DEAD_MS = 3000;
/** Of the blob; a little after the second half of the clients came. */
const DIES_AT = 0.6;
const SIZE_BYTES = 512 * MIB;

export const revival: Scenario = {
  name: "revival",
  measures: `the upstream dies under ${CLIENTS} clients of one cold 512 MiB blob, and is back ${DEAD_MS / 1000} s later`,
  async run(bench: Bench) {
    const { library, origin } = bench.parts;
    const blob = await library.blob(SIZE_BYTES, 1);
    const puller = bench.puller();
    // The page cache has it then.
    await puller.run({ kind: "series", targets: [{ port: origin.port, path: blob.path }], pauseMs: 0 });

    const death = Promise.withResolvers<void>();
    let died = false;
    await using line = await MortalLine.open(origin.port, ({ bytes }) => {
      if (died || bytes < SIZE_BYTES * DIES_AT) return;
      died = true;
      death.resolve(line.cut());
    });
    const mirror = await bench.mirror({ upstreamUrl: line.url });
    const target = { port: mirror.port, path: mirror.blobPath(blob) };
    const crowd = { sizeBytes: SIZE_BYTES, early: CLIENTS / 2, late: CLIENTS / 2 };
    const pull = puller.run({ kind: "herd", target, ...crowd, file: blob.file });
    pull.catch(() => {});
    // Where it never gets so far, the pull tells why.
    await Promise.race([death.promise, pull]);
    if (!died) throw new Error("the upstream did not come to die");
    await sleep(DEAD_MS);
    await line.mend();
    const got = await pull;
    await mirror.settled();

    bench.sample("mirror", { wallSeconds: got.seconds, upstreamMegabytes: line.bytes / 1e6 });
    bench.find("clients that received the right bytes", got.right, { digits: 0, bar: exactly(CLIENTS) });
    const note = `${got.seconds.toFixed(1)} s in all, ${DEAD_MS / 1000} s of them without upstream`;
    bench.find("upstream bytes ÷ blob bytes", line.bytes / SIZE_BYTES, { digits: 3, note, bar: atMost(1.1, 1.02) });
  },
};
