/**
 * What the clients of a run do: one function per scenario. Each ends by itself or with the run's end (`Stopped`).
 */
import type { Client } from "./client.ts";
import type { ImagePlan } from "./image.ts";
import type { Life } from "./life.ts";
import { Mishap } from "./mishap.ts";
import type { LoadOptions, Scenario } from "./options.ts";
import type { Place } from "./place.ts";
import { manifestMethodOf } from "./profile.ts";
import type { Tally } from "./tally.ts";
import { seededRandom, zipfRank, zipfShares } from "./zipf.ts";

export interface Stage {
  readonly options: LoadOptions;
  /** At least one. */
  readonly places: readonly Place[];
  readonly clients: readonly Client[];
  /** An ordinary client beside the slow ones. */
  readonly bystander: Client;
  readonly life: Life;
  readonly tally: Tally;
  /** What the references turned out to be, by how they are written. */
  readonly seen: ReadonlyMap<string, ImagePlan>;
}

/** What one client does from the start of the clock on. */
type Part = (client: Client, at: number) => Promise<void>;

/** Before the clock starts: what is not to be measured cold, or at all. */
export async function warmUp(stage: Stage): Promise<void> {
  const { bystander, options, places } = stage;
  for (const place of places) {
    if (options.scenario === "warm") await unlessMishap(() => bystander.pull(place));
    // What the slow readers are to read: a thousand of them asking for manifests is another scenario.
    if (options.scenario === "slow") await unlessMishap(() => bystander.resolve(place).then(() => {}));
  }
}

export function partOf(stage: Stage): Part {
  return PARTS[stage.options.scenario](stage);
}

/** Pulls like an ordinary client while `slow` goes on: what the others notice of it. */
export function bystanderPart(stage: Stage): (() => Promise<void>) | undefined {
  if (stage.options.scenario !== "slow") return undefined;
  let turn = 0;
  return () => again(stage.life, () => stage.bystander.pull(placeAt(stage, turn++)));
}

const PARTS: Readonly<Record<Scenario, (stage: Stage) => Part>> = {
  herd: (stage) => (client, at) => unlessMishap(() => client.pull(placeAt(stage, at))),

  warm: (stage) => (client, at) => {
    let turn = at;
    return again(stage.life, () => client.pull(placeAt(stage, turn++)));
  },

  mixed: (stage) => {
    const shares = zipfShares(stage.places.length, stage.options.zipfExponent);
    return (client, at) => {
      const random = seededRandom(stage.options.seed + at);
      return again(stage.life, () => client.pull(placeAt(stage, zipfRank(shares, random()))));
    };
  },

  manifests: (stage) => {
    const method = stage.options.manifestMethod ?? manifestMethodOf(stage.options.as);
    return (client, at) => {
      let turn = at;
      return again(stage.life, () => client.askManifest(placeAt(stage, turn++), method));
    };
  },

  ranges: (stage) => (client, at) => {
    let turn = at;
    return again(stage.life, async () => {
      const place = placeAt(stage, turn++);
      const startedAt = performance.now();
      const { layers } = await client.resolve(place);
      for (const layer of layers) if (layer.sizeBytes > 0) await client.fetchRanges(place, layer);
      stage.tally.pulled(performance.now() - startedAt);
    });
  },

  slow: (stage) => async (client, at) => {
    const { life, options } = stage;
    // A thousand new connections a second: a listener's backlog is not what is measured.
    await life.wait(at);
    const place = placeAt(stage, at);
    await again(life, async () => {
      const { layers, config } = stage.seen.get(place.written) ?? (await client.resolve(place));
      const largest = layers.toSorted((a, b) => b.sizeBytes - a.sizeBytes)[0] ?? config;
      if (largest === undefined) throw new Mishap("bad answer", "the image has nothing to read slowly");
      await client.readSlowly(place, largest, (bytes) => life.wait((bytes / options.bytesPerSecond) * 1000));
    });
  },
};

function placeAt(stage: Stage, turn: number): Place {
  const place = stage.places[turn % stage.places.length];
  if (place === undefined) throw new RangeError("a run without an image");
  return place;
}

async function unlessMishap(work: () => Promise<void>): Promise<void> {
  try {
    await work();
  } catch (error) {
    if (!(error instanceof Mishap)) throw error;
  }
}

const FIRST_BACKOFF_MS = 100;
const LONGEST_BACKOFF_MS = 5_000;

/** A server in trouble is not asked thousands of times a second, and one that names a time is obeyed within reason. */
export function backoffMs(failures: number, retryAfterMs: number | undefined): number {
  return Math.min(LONGEST_BACKOFF_MS, Math.max(retryAfterMs ?? 0, FIRST_BACKOFF_MS * 2 ** Math.min(10, failures - 1)));
}

async function again(life: Life, work: () => Promise<void>): Promise<void> {
  let failures = 0;
  while (!life.stopped) {
    try {
      await work();
      failures = 0;
    } catch (error) {
      if (!(error instanceof Mishap)) throw error;
      failures += 1;
      await life.wait(backoffMs(failures, error.retryAfterMs));
    }
  }
}
