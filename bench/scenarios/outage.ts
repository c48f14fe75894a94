/**
 * A thousand cached tags, each too old to be served without asking, asked for one after another while the upstream is
 * dead: once refusing connections, once accepting them and saying nothing.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { makeImage } from "../../test/kit/image.ts";
import { TestUpstream } from "../../test/kit/upstream.ts";
import { atMost, exactly, percentile } from "../figures.ts";
import type { Bench, Scenario } from "../scenario.ts";

const TAGS = 1000;
const FRESHNESS = { tags: "1s", staleWhileRevalidate: "1s" };
const BARS = { firstMs: atMost(2100), p99Ms: atMost(50, 10) };

export const outage: Scenario = {
  name: "outage",
  measures: `${TAGS} cached tags in turn, all to be confirmed, of an upstream that is dead`,
  async run(bench: Bench) {
    await outageOf(bench, "refuses connections", (upstream) => upstream.close());
    await outageOf(bench, "says nothing", async (upstream) => {
      upstream.fault({}, { delayHeadersMs: 600_000 });
    });
  },
};

async function outageOf(bench: Bench, how: string, die: (upstream: TestUpstream) => Promise<void>): Promise<void> {
  const image = makeImage({ layers: [1000] });
  await using upstream = await TestUpstream.start();
  for (let tag = 0; tag < TAGS; tag++) upstream.shelves.add("bench/image", image, `v${tag}`);
  const { port } = await bench.mirror({ upstreamUrl: upstream.url, settings: { freshness: FRESHNESS } });
  const targets = Array.from({ length: TAGS }, (_, tag) => ({ port, path: `/v2/bench/image/manifests/v${tag}` }));
  const puller = bench.puller();
  await puller.run({ kind: "series", targets, pauseMs: 0 });
  // Now each of them is too old.
  await sleep(1500);
  const asked = upstream.requests.length;
  await die(upstream);
  const { answers } = await puller.run({ kind: "series", targets, pauseMs: 0 });
  const [first, ...rest] = answers;
  const right = answers.filter((one) => one.status === 200 && one.bodyBytes === image.manifest.length).length;
  bench.find(`${how}: answered`, right, { digits: 0, note: `of ${TAGS}`, bar: exactly(TAGS) });
  bench.find(`${how}: first answer, ms`, first?.totalMs ?? Number.NaN, { digits: 1, bar: BARS.firstMs });
  const times = rest.map(({ totalMs }) => totalMs);
  const longest = `longest ${Math.max(...times).toFixed(1)} ms`;
  bench.find(`${how}: 99th percentile of the others, ms`, percentile(times, 0.99), {
    digits: 2,
    note: longest,
    bar: BARS.p99Ms,
  });
  bench.find(`${how}: requests that reached it`, upstream.requests.length - asked, { digits: 0 });
}
