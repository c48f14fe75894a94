/**
 * An origin that is far away: 40 ms of round trip and 300 Mbit/s per connection, made by the shim. One connection gains
 * nothing from a mirror; several of them do.
 */

import { get } from "../../test/kit/http.ts";
import { BITS_PER_SECOND, FarLine, ONE_WAY_MS } from "../far.ts";
import { atMost, ratios } from "../figures.ts";
import type { LibraryBlob } from "../library.ts";
import { type Bench, MIB, type Scenario } from "../scenario.ts";
import type { Served } from "../served.ts";

/** The shim's own rate must be this near to what it claims, or nothing measured through it means anything. */
const PRECISION = 0.05;

export const farOrigin: Scenario = {
  name: "far-origin",
  measures: `cold blob from an origin ${2 * ONE_WAY_MS} ms and ${BITS_PER_SECOND / 1e6} Mbit/s per connection away`,
  async run(bench: Bench) {
    const { library, origin, quick } = bench.parts;
    const sizeBytes = (quick ? 128 : 256) * MIB;
    const puller = bench.puller();
    await using far = await FarLine.open(origin.port);
    const blobs = await library.blobs(quick ? 1 : 2, sizeBytes);
    const warmUp = await library.blob(MIB, 99);

    const pull = async (port: number, path: string, bytes = sizeBytes) => {
      const { answers } = await puller.run({ kind: "series", targets: [{ port, path }], pauseMs: 0 });
      const [answer] = answers;
      if (answer?.status === 200 && answer.bodyBytes === bytes) return answer;
      throw new Error(`answered with ${answer?.status}, ${answer?.bodyBytes} bytes`);
    };
    const rates: number[] = [];
    // Without the shim first: the origin's page cache has it then, for whoever comes first through the shim.
    for (const { path } of blobs) {
      await pull(origin.port, path);
      const { totalMs, firstByteMs } = await pull(far.port, path);
      bench.sample("direct", { wallSeconds: totalMs / 1000 });
      rates.push((sizeBytes * 8) / 1000 / (totalMs - firstByteMs));
    }
    bench.find("the shim's rate, direct", rates, { unit: "Mbit/s", digits: 1 });
    const claimed = BITS_PER_SECOND / 1e6;
    if (rates.some((rate) => Math.abs(rate / claimed - 1) > PRECISION)) {
      throw new Error(`the shim is not at ${claimed} Mbit/s: ${rates.map((rate) => rate.toFixed(0)).join(", ")}`);
    }

    const measure = async (server: Served, blob: LibraryBlob) => {
      // Who pulls an image has its manifest before its layers, and so the mirror knows their sizes.
      await get(`http://127.0.0.1:${server.port}${server.blobPath(blob)}`, { method: "HEAD" });
      await origin.forget();
      const { totalMs } = await pull(server.port, server.blobPath(blob));
      await server.settled();
      const { all, bytes } = await origin.count();
      bench.sample(server.name, { wallSeconds: totalMs / 1000, upstreamRequests: all, upstreamMegabytes: bytes / 1e6 });
    };
    for (const [segments, bar] of [
      [1, atMost(1.05)],
      [4, atMost(1.05, 0.6)],
    ] as const) {
      const label = `mirror, segments: ${segments}`;
      await bench.part(`segments: ${segments}`, async () => {
        const mirror = await bench.mirror({ label, settings: { segments }, upstreamUrl: far.url });
        // Code that runs for the first time.
        await pull(mirror.port, mirror.blobPath(warmUp), MIB);
        for (const blob of blobs) await measure(mirror, blob);
        for (const blob of blobs) await puller.verify(mirror.port, mirror.blobPath(blob), blob.digest);
        const walls = (server: string) => bench.series(server, "wallSeconds");
        bench.find(`wall with segments: ${segments}, mirror ÷ direct`, ratios(walls(label), walls("direct")), { bar });
        await mirror.daemon.stop();
      });
    }
  },
};
