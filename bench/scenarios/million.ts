/**
 * A store of a million blobs: how long until it answers, what memory that takes, and whether those who pull notice when
 * ten thousand of them leave.
 */
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { get } from "../../test/kit/http.ts";
import { makeImage } from "../../test/kit/image.ts";
import { TestUpstream } from "../../test/kit/upstream.ts";
import { atLeast, atMost, exactly, percentile } from "../figures.ts";
import { BLOB_BYTES, makeStore } from "../million.ts";
import { startMirror } from "../mirror.ts";
import type { Bench, Scenario } from "../scenario.ts";

const HIGH = 0.95;
const EVICTED = 10_000;
const MIB = 1024 * 1024;
const PATIENCE_MS = 60_000;

export const million: Scenario = {
  name: "million",
  measures: `a store of 1 000 000 blobs: start, memory, and ${EVICTED} of them leaving while clients are answered`,
  async run(bench: Bench) {
    const { dir, quick } = bench.parts;
    const blobs = quick ? 200_000 : 1_000_000;
    const name = bench.fileName("mirror");
    makeStore(join(dir, name, "cache", "v1"), blobs, EVICTED + 2000);

    await using upstream = await TestUpstream.start();
    const image = makeImage({ layers: [MIB] });
    const large = makeImage({ seed: 2, layers: [4 * MIB] });
    upstream.shelves.add("bench/image", image, "1");
    upstream.shelves.add("bench/large", large, "1");
    // What the first image brings stays below the high watermark, and what the second one does not.
    const maxSize = Math.ceil((blobs * BLOB_BYTES + 3 * MIB) / HIGH);
    const low = HIGH - (EVICTED * BLOB_BYTES) / maxSize;
    const cache = { maxSize, minFree: 0, highWatermark: percentText(HIGH), lowWatermark: percentText(low) };
    const startedAt = performance.now();
    const mirror = bench.keep(await startMirror({ name, dir, upstreamUrl: upstream.url, settings: { cache } }));
    const readyMs = performance.now() - startedAt;
    bench.find("ready after, ms", readyMs, { digits: 0, note: `${blobs} blobs`, bar: atMost(2000, 1000) });
    bench.find("resident when ready, MB", mirror.daemon.residentBytes() / 1e6, { digits: 0, bar: atMost(250, 150) });

    const { port, adminPort } = mirror;
    const metric = async (what: string) => {
      const { body } = await get(`http://127.0.0.1:${adminPort}/metrics`);
      return Number(
        body
          .toString()
          .split("\n")
          .find((line) => line.startsWith(`${what} `))
          ?.split(" ")[1],
      );
    };
    const left = () => metric('wharfinger_evicted_blobs_total{reason="size"}');
    const [layer] = image.layers;
    const warm = ["/v2/bench/image/manifests/1", `/v2/bench/image/blobs/${layer?.digest}`];
    const targets = Array.from({ length: 400 }, (_, at) => ({ port, path: warm[at % 2] ?? "" }));
    const sizes = [image.manifest.length, MIB];
    const puller = bench.puller();
    const series = () => puller.run({ kind: "series", targets, pauseMs: 0 });
    await series();
    await mirror.settled();
    // The figure is the worst since it was last asked for, and the probe's own interval is in it.
    await lagOf(metric);
    await series();
    const quiet = await lagOf(metric);

    const before = await left();
    mirror.daemon.resetPeak();
    const [add] = large.layers;
    await get(`http://127.0.0.1:${port}/v2/bench/large/blobs/${add?.digest}`);
    const sweptAt = performance.now();
    const times: number[] = [];
    let failed = 0;
    let lag = 0;
    for (
      let sweptMs = 0;
      (await left()) - before < EVICTED && sweptMs < PATIENCE_MS;
      sweptMs = performance.now() - sweptAt
    ) {
      const { answers } = await series();
      for (const [at, { status, bodyBytes, totalMs }] of answers.entries()) {
        if (status !== 200 || bodyBytes !== sizes[at % 2]) failed += 1;
        times.push(totalMs);
      }
      lag = Math.max(lag, await lagOf(metric));
      await sleep(10);
    }
    const seconds = (performance.now() - sweptAt) / 1000;
    bench.find("blobs that left", (await left()) - before, {
      digits: 0,
      note: `in ${seconds.toFixed(1)} s, while ${times.length} requests were answered`,
      bar: atLeast(EVICTED),
    });
    bench.find("requests that failed meanwhile", failed, { digits: 0, bar: exactly(0) });
    bench.find("longest pause of the event loop, ms", lag, {
      digits: 1,
      note: `${quiet.toFixed(1)} ms under the same requests before; the probe's interval is 10 ms`,
      bar: atMost(30, 20),
    });
    const longest = `longest ${Math.max(...times).toFixed(1)} ms`;
    bench.find("99th percentile of answers, ms", percentile(times, 0.99), { digits: 1, note: longest });
    bench.find("resident at most, MB", mirror.daemon.peakBytes() / 1e6, { digits: 0, bar: atMost(250) });
  },
};

async function lagOf(metric: (what: string) => Promise<number>): Promise<number> {
  return (await metric("nodejs_eventloop_lag_max_seconds")) * 1000;
}

function percentText(share: number): string {
  return `${(share * 100).toFixed(3)}%`;
}
