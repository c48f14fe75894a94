/**
 * A day's pulls of 2000 images through what really decides what stays — index, uses, admission, eviction — in a cache a
 * tenth of their size, against textbook policies on the same day; and the same with a scan of images pulled once.
 *
 * The store is the index alone: there are no files, and no network.
 */
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { Notices } from "../../src/base/notices.ts";
import { openDatabase } from "../../src/meta/database.ts";
import { Graph } from "../../src/meta/graph.ts";
import { Holdings } from "../../src/meta/holdings.ts";
import { Inventory } from "../../src/meta/inventory.ts";
import { Repositories } from "../../src/meta/repositories.ts";
import { Tags } from "../../src/meta/tags.ts";
import { Usage } from "../../src/meta/usage.ts";
import { Capacity } from "../../src/mirror/capacity.ts";
import type { MirrorNotices } from "../../src/mirror/notices.ts";
import { OCI_MANIFEST } from "../../src/oci/mediatypes.ts";
import { parseRepository } from "../../src/oci/reference.ts";
import { Evictor } from "../../src/upkeep/evictor.ts";
import { ManualClock } from "../../test/kit/clock.ts";
import { type DayTrace, makeDayTrace, type TracedBlob, type TracedImage } from "../daytrace.ts";
import { atLeast } from "../figures.ts";
import { Lfu, Lru, type Policy, TinyLfu } from "../policies.ts";
import type { Bench, Scenario } from "../scenario.ts";

const UPSTREAM = "registry.test";
const FLUSH_MS = 5000;
const MARKS = { high: 0.95, low: 0.9 };

export const dayTrace: Scenario = {
  name: "day-trace",
  measures: "byte hit ratio of a day's pulls of 2000 images (Zipf) in a cache of a tenth of their size",
  async run(bench: Bench) {
    const pulls = bench.parts.quick ? 4000 : 20_000;
    const plain = { images: 2000, pulls, exponent: 0.9, seed: 5, scanned: 0 };
    await contest(bench, "the day", makeDayTrace(plain), false);
    await contest(bench, "with a scan", makeDayTrace({ ...plain, scanned: Math.floor(pulls / 5) }), true);
  },
};

async function contest(bench: Bench, what: string, trace: DayTrace, isScan: boolean): Promise<void> {
  const limitBytes = Math.floor(trace.catalogueBytes / 10);
  const ratios = new Map<string, number>();
  for (const policy of [new Lru(limitBytes), new Lfu(limitBytes), new TinyLfu(limitBytes)]) {
    ratios.set(policy.name, simulate(trace, policy));
  }
  const dir = join(bench.parts.dir, bench.fileName("index"));
  await mkdir(dir);
  const ours = await runReal(trace, limitBytes, dir);
  for (const [name, ratio] of ratios) bench.find(`${what}: ${name}, % of bytes`, ratio * 100, { digits: 1 });
  const best = Math.max(...ratios.values());
  bench.find(`${what}: mirror, % of bytes`, ours.ratio * 100, { digits: 1, note: ours.note });
  bench.find(`${what}: points above the best of them`, (ours.ratio - best) * 100, { digits: 1, bar: atLeast(-3, 0) });
  if (isScan) {
    const lru = ratios.get("LRU") ?? Number.NaN;
    bench.find(`${what}: points above LRU`, (ours.ratio - lru) * 100, { digits: 1, bar: atLeast(0.1, 5) });
  }
}

function simulate({ pulls }: DayTrace, policy: Policy): number {
  let [asked, served] = [0, 0];
  for (const { image } of pulls) {
    for (const { digest, sizeBytes } of [image.manifest, ...image.blobs]) {
      asked += sizeBytes;
      if (policy.access(digest, sizeBytes)) served += sizeBytes;
    }
  }
  return served / asked;
}

async function runReal(trace: DayTrace, limitBytes: number, dir: string): Promise<{ ratio: number; note: string }> {
  const database = openDatabase(dir);
  const clock = new ManualClock();
  const startAt = clock.now();
  const repositories = new Repositories(database);
  const tags = new Tags(database, repositories);
  const graph = new Graph(database, repositories);
  const usage = new Usage(database, clock);
  const inventory = new Inventory(database, true, (at) => usage.dateOf(at));
  const holdings = new Holdings(database, { inventory, tags, repositories });
  const notices = new Notices<MirrorNotices>();
  const store = {
    freeBytes: async () => 2 ** 50,
    discard: async () => {},
    has: () => false,
    retryRemoving: async () => {},
    isOpen: () => false,
  };
  const limits = { maxBytes: limitBytes, minFreeBytes: 0 };
  const capacity = new Capacity({ store, inventory, limits, clock, notices });
  const none = { shelf: { forget() {} }, isFilling: () => false };
  const evictor = new Evictor({ capacity, holdings, inventory, usage, store, ...none, marks: MARKS, clock, notices });
  capacity.useMaker(evictor);
  const place = { upstream: UPSTREAM, repository: parseRepository("bench/image") };
  let [asked, served, refused, most] = [0, 0, 0, 0];
  const get = async ({ digest, sizeBytes }: TracedBlob, stored: () => void): Promise<void> => {
    asked += sizeBytes;
    if (inventory.findSize(digest) !== undefined) {
      served += sizeBytes;
      usage.note(digest);
      return;
    }
    const room = await capacity.reserve(sizeBytes, { digest, upstream: UPSTREAM });
    if (typeof room === "string") {
      refused += 1;
      usage.note(digest);
      return;
    }
    inventory.addBlob(digest, sizeBytes, UPSTREAM, clock.now());
    stored();
    room.release();
    most = Math.max(most, inventory.bytes);
  };
  let flushedAt = 0;
  for (const { atMs, image } of trace.pulls) {
    clock.jump(startAt + atMs - clock.now());
    if (atMs - flushedAt >= FLUSH_MS) {
      flushedAt = atMs;
      usage.flush();
    }
    await get(image.manifest, () => {
      const sizes = image.blobs.map(({ digest, sizeBytes }) => ({ digest, sizeBytes, confirmed: false }));
      graph.link(place, sizes);
      inventory.addManifest(image.manifest.digest, OCI_MANIFEST, naming(image));
    });
    for (const blob of image.blobs) await get(blob, () => {});
    // What is evicted behind is given the time that there is between two pulls.
    for (let turn = 0; turn < 20; turn += 1) await new Promise((resolve) => setImmediate(resolve));
  }
  await evictor.stop();
  database.close();
  if (most > limitBytes) throw new Error(`${most - limitBytes} bytes more than allowed were stored`);
  return { ratio: served / asked, note: `${refused} blobs were not let in` };
}

function naming(image: TracedImage) {
  return { children: image.blobs.map(({ digest }) => digest), subject: undefined };
}
