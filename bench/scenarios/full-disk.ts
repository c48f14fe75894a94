/**
 * A cache of 64 MiB for images of 500 MiB: nobody's pull may fail, whatever is stored, and the file system never falls
 * below `minFree`. Then another process fills it under the mirror, and then there is room.
 */
import { open, rm } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";
import { getHashed } from "../../test/kit/http.ts";
import { atLeast, exactly } from "../figures.ts";
import type { LibraryBlob } from "../library.ts";
import { RoomlessMirror } from "../roomless.ts";
import { type Bench, MIB, type Scenario } from "../scenario.ts";

const SIZE_BYTES = 64 * MIB;
const ROOMY_BYTES = 2048 * MIB;
const MIN_FREE_BYTES = 8 * MIB;
const CLIENTS = 10;
const SAMPLE_MS = 50;
const SECONDS = { quick: 30, full: 300 };
/** Of each of ten images; one layer is larger than the whole cache. */
const LAYERS_MIB = [1, 4, 9, 11, 25];
const IMAGES = 9;
const LARGE_MIB = 70;
const HEALED_MS = 90_000;

interface Pulls {
  done: number;
  readonly failed: string[];
  stored: number;
}

export const fullDisk: Scenario = {
  name: "full-disk",
  measures: `${CLIENTS} clients pull images of 500 MiB through a cache on 64 MiB`,
  timeoutMs: 600_000,
  async run(bench: Bench) {
    const { library, quick, origin, dir } = bench.parts;
    const seconds = quick ? SECONDS.quick : SECONDS.full;
    const blobs: LibraryBlob[] = [await library.blob(LARGE_MIB * MIB, 700)];
    for (let image = 0; image < IMAGES; image += 1) {
      for (const [at, size] of LAYERS_MIB.entries()) blobs.push(await library.blob(size * MIB, 701 + image * 10 + at));
    }
    for (const workers of [1, 2]) {
      const start = async () => {
        const options = { sizeBytes: SIZE_BYTES, minFreeBytes: MIN_FREE_BYTES, workers };
        const name = bench.fileName("mirror");
        return bench.keep(await RoomlessMirror.start({ name, dir, upstreamUrl: origin.url, ...options }));
      };
      // Skipped or failed, one does not keep the other from being shown.
      await bench.part(`workers ${workers}, alone`, async () => {
        await alone(bench, await start(), blobs, seconds * 300, `workers ${workers}, alone`);
      });
      await bench.part(`workers ${workers}, beside`, async () => {
        await beside(bench, await start(), blobs, seconds * 200, `workers ${workers}, beside one that fills the disk`);
      });
    }
  },
};

async function alone(bench: Bench, mirror: RoomlessMirror, blobs: readonly LibraryBlob[], ms: number, what: string) {
  const { pulls, result } = await whilePulling(mirror, blobs, ms, (over) => lowest(mirror, over));
  tell(bench, what, pulls);
  bench.find(`${what}: lowest free space, MiB`, result / MIB, { digits: 2, bar: atLeast(MIN_FREE_BYTES / MIB) });
  await heal(bench, mirror, blobs, what);
}

/** Its cache is empty at first, so that there is something to be met in the middle of being stored. */
async function beside(bench: Bench, mirror: RoomlessMirror, blobs: readonly LibraryBlob[], ms: number, what: string) {
  const { pulls, result } = await whilePulling(mirror, blobs, ms, (over) => fillAgain(mirror, over));
  tell(bench, what, pulls);
  const errors = await mirror.metric(/^wharfinger_storage_errors_total/);
  const rescued = await mirror.metric(/^wharfinger_answers_rescued_total/);
  bench.find(`${what}: how often it was filled`, result, { digits: 0 });
  bench.find(`${what}: failures of the disk, which no pull has seen`, errors, { digits: 0 });
  bench.find(`${what}: answers that went on from the upstream`, rescued, { digits: 0 });
  await heal(bench, mirror, blobs, what);
}

async function heal(bench: Bench, mirror: RoomlessMirror, blobs: readonly LibraryBlob[], what: string): Promise<void> {
  mirror.resize(ROOMY_BYTES);
  const healedAt = performance.now();
  let kept = 0;
  while (kept < blobs.length && performance.now() - healedAt < HEALED_MS) {
    kept = 0;
    for (const blob of blobs) {
      const { headers, digest } = await pull(mirror, blob);
      if (digest === blob.digest && headers["cache-status"] === "wharfinger; hit") kept += 1;
    }
  }
  const note = `${((performance.now() - healedAt) / 1000).toFixed(0)} s after there was room`;
  bench.find(`${what}: stored when there is room`, kept, { digits: 0, note, bar: exactly(blobs.length) });
  await mirror.daemon.until(async () => (await mirror.readiness())["status"] === "ready", HEALED_MS);
}

function tell(bench: Bench, what: string, { done, failed, stored }: Pulls): void {
  const note = failed.length === 0 ? `${done} pulls, ${stored} of them from the store` : failed.slice(0, 3).join("; ");
  bench.find(`${what}: failed pulls`, failed.length, { digits: 0, note, bar: exactly(0) });
}

const pull = (mirror: RoomlessMirror, blob: LibraryBlob) => getHashed(`http://127.0.0.1:${mirror.port}${blob.path}`);

/** Clients that pull one blob after another, each in an order of his own, while something is done. */
async function whilePulling<T>(
  mirror: RoomlessMirror,
  blobs: readonly LibraryBlob[],
  ms: number,
  work: (over: AbortSignal) => Promise<T>,
): Promise<{ readonly pulls: Pulls; readonly result: T }> {
  const pulls: Pulls = { done: 0, failed: [], stored: 0 };
  const over = AbortSignal.timeout(ms);
  const client = async (number: number) => {
    for (let turn = number * 5; !over.aborted; turn += 1 + (number % 3)) {
      const blob = blobs[turn % blobs.length];
      if (blob === undefined) return;
      const { digest, complete, status, error, headers } = await pull(mirror, blob);
      pulls.done += 1;
      if (digest !== blob.digest || !complete) pulls.failed.push(`${status} ${error ?? ""} ${headers["cache-status"]}`);
      if (headers["cache-status"] === "wharfinger; hit") pulls.stored += 1;
    }
  };
  const clients = Promise.all(Array.from({ length: CLIENTS }, (_, number) => client(number)));
  const [result] = await Promise.all([work(over), clients]);
  return { pulls, result };
}

/** Of all samples. */
async function lowest(mirror: RoomlessMirror, over: AbortSignal): Promise<number> {
  let least = Number.POSITIVE_INFINITY;
  while (!over.aborted) {
    least = Math.min(least, await mirror.freeBytes());
    await sleep(SAMPLE_MS);
  }
  return least;
}

/** Another process takes everything, for a while, and again. @returns how often. */
async function fillAgain(mirror: RoomlessMirror, over: AbortSignal): Promise<number> {
  const path = mirror.path("filler");
  const page = Buffer.alloc(256 * 1024, 1);
  let times = 0;
  for (; !over.aborted; times += 1) {
    await sleep(300);
    const file = await open(path, "w");
    try {
      for (;;) await file.write(page);
    } catch {
      // It is full.
    } finally {
      await file.close();
    }
    await sleep(1000);
    await rm(path);
    await sleep(300 * (times % 3));
  }
  return times;
}
