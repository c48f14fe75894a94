/**
 * A thousand bytes of a cold gigabyte must not cost the gigabyte.
 */
import { createHash } from "node:crypto";
import { open } from "node:fs/promises";
import { atMost, exactly } from "../figures.ts";
import { type Bench, MIB, type Scenario } from "../scenario.ts";

const SIZE_BYTES = 1024 * MIB;
const START = 1000;
const END = 1999;
const BAR = 0.1;

export const range: Scenario = {
  name: "range",
  measures: "bytes 1000-1999 of a cold 1 GiB blob, beside the whole of another",
  async run(bench: Bench) {
    const { library, origin } = bench.parts;
    const puller = bench.puller();
    const [whole, part] = await library.blobs(2, SIZE_BYTES, 1);
    if (whole === undefined || part === undefined) throw new Error("two blobs were asked for");
    const { port, settled } = await bench.mirror();

    const entire = await puller.run({ kind: "series", targets: [{ port, path: whole.path }], pauseMs: 0 });
    await settled();
    await origin.forget();
    const header = `bytes=${START}-${END}`;
    const target = { port, path: part.path, range: header };
    const slice = await puller.run({ kind: "series", targets: [target], pauseMs: 0 });
    // The bytes come from the same fill or from what it has stored.
    const { digest } = await puller.run({ kind: "hash", target });

    const [wholeAnswer] = entire.answers;
    const [answer] = slice.answers;
    if (wholeAnswer?.status !== 200 || wholeAnswer.bodyBytes !== SIZE_BYTES) throw new Error("no whole blob");
    const right =
      answer?.status === 206 && answer.bodyBytes === END - START + 1 && digest === (await expected(part.file));
    const note = `${answer?.bodyBytes} bytes, ${right ? "right" : "wrong"}`;
    bench.find("answer with the right bytes", right ? 206 : 0, { digits: 0, note, bar: exactly(206) });
    const ratio = (answer?.totalMs ?? Number.NaN) / wholeAnswer.totalMs;
    const times = `${answer?.totalMs.toFixed(1)} ms of ${wholeAnswer.totalMs.toFixed(0)} ms`;
    bench.find("time ÷ time of the whole blob", ratio, { digits: 4, note: times, bar: atMost(BAR) });
    await settled();
    const { blobGets } = await origin.count();
    bench.find("upstream GETs", blobGets, { digits: 0, note: "for two requests of the range" });
  },
};

async function expected(file: string): Promise<string> {
  await using handle = await open(file);
  const { buffer } = await handle.read(Buffer.alloc(END - START + 1), 0, END - START + 1, START);
  return `sha256:${createHash("sha256").update(buffer).digest("hex")}`;
}
