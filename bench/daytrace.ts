/**
 * A day of pulls as a list of what is asked for: images that share base layers, some much more popular than others, and,
 * where that is wished, a scan of images that are pulled once. The same seed gives the same day.
 */
import { seededRandom, zipfRank, zipfShares } from "../src/load/zipf.ts";
import { type Digest, digestOf } from "../src/oci/digest.ts";

export interface TracedBlob {
  readonly digest: Digest;
  readonly sizeBytes: number;
}

export interface TracedImage {
  readonly manifest: TracedBlob;
  /** Configuration and layers, base layers first. */
  readonly blobs: readonly TracedBlob[];
}

export interface TracedPull {
  /** Since the day began. */
  readonly atMs: number;
  readonly image: TracedImage;
}

export interface DayTrace {
  readonly pulls: readonly TracedPull[];
  /** Of all images that are pulled more than once, each blob counted once. */
  readonly catalogueBytes: number;
}

export interface DayTraceOptions {
  readonly images: number;
  readonly pulls: number;
  /** Of Zipf's law; 1 is its classic form. */
  readonly exponent: number;
  readonly seed: number;
  /** How many images are pulled once, between the eighth hour and the sixteenth. */
  readonly scanned: number;
}

const DAY_MS = 24 * 60 * 60_000;
const MIB = 1024 * 1024;
const BASES = 60;

export function makeDayTrace({ images, pulls, exponent, seed, scanned }: DayTraceOptions): DayTrace {
  const random = seededRandom(seed);
  const bases = Array.from({ length: BASES }, (_, at) =>
    Array.from({ length: 1 + Math.floor(random() * 3) }, (_, layer) =>
      blobOf(`base ${seed} ${at} ${layer}`, sizeOf(random, 25)),
    ),
  );
  const baseShares = zipfShares(BASES, 0.8);
  const imageOf = (name: string): TracedImage => {
    const base = bases[zipfRank(baseShares, random())] ?? [];
    const own = Array.from({ length: 2 + Math.floor(random() * 5) }, (_, layer) =>
      blobOf(`${name} layer ${layer}`, sizeOf(random, 6)),
    );
    const config = blobOf(`${name} config`, 3000 + Math.floor(random() * 9000));
    return { manifest: blobOf(`${name} manifest`, 1500), blobs: [config, ...base, ...own] };
  };
  const catalogue = Array.from({ length: images }, (_, at) => imageOf(`image ${seed} ${at}`));
  const shares = zipfShares(images, exponent);
  const all: TracedPull[] = [];
  for (let at = 0; at < pulls; at += 1) {
    const image = catalogue[zipfRank(shares, random())];
    if (image !== undefined) all.push({ atMs: Math.floor(((at + random()) * DAY_MS) / pulls), image });
  }
  for (let at = 0; at < scanned; at += 1) {
    const atMs = Math.floor(DAY_MS / 3 + ((at + random()) * DAY_MS) / 3 / scanned);
    all.push({ atMs, image: imageOf(`scanned ${seed} ${at}`) });
  }
  all.sort((one, other) => one.atMs - other.atMs);
  const known = new Map<Digest, number>();
  for (const { manifest, blobs } of catalogue)
    for (const { digest, sizeBytes } of [manifest, ...blobs]) known.set(digest, sizeBytes);
  const catalogueBytes = [...known.values()].reduce((sum, size) => sum + size, 0);
  return { pulls: all, catalogueBytes };
}

function blobOf(name: string, sizeBytes: number): TracedBlob {
  return { digest: digestOf(Buffer.from(name)), sizeBytes };
}

/** Layers' sizes spread over three orders of magnitude: log-normal, at most 600 MiB. */
function sizeOf(random: () => number, medianMib: number): number {
  const normal = Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
  return Math.ceil(Math.min(600, Math.max(0.001, medianMib * Math.exp(1.3 * normal))) * MIB);
}
