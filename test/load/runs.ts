/** What whole runs need in tests: images, options, ends that wait for what they need, a look at what stays open. */
import assert from "node:assert/strict";
import type { ClientKind, LoadOptions } from "../../src/load/options.ts";
import type { Report } from "../../src/load/report.ts";
import { type RunHooks, runLoad } from "../../src/load/run.ts";
import type { Tally } from "../../src/load/tally.ts";
import { makeImage, makeIndex } from "../kit/image.ts";
import { openResources, residueSince } from "../kit/residue.ts";
import { TestUpstream, type TestUpstreamOptions } from "../kit/upstream.ts";

export const image = makeImage({ layers: [1_000, 20_000, 300_000, 5_000] });
export const index = makeIndex([makeImage({ architecture: "arm64", seed: 9 }), image]);
export const IMAGE_BYTES = [image.config, ...image.layers].reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);

export async function stocked(options: TestUpstreamOptions = {}): Promise<TestUpstream> {
  const upstream = await TestUpstream.start(options);
  upstream.shelves.add("app", index, "1");
  upstream.shelves.add("library/base", image, "latest");
  for (let at = 0; at < 4; at += 1) {
    upstream.shelves.add(`team/m${at}`, makeImage({ layers: [100 + at, 2_000], seed: 20 + at }), "latest");
  }
  return upstream;
}

/** A run, after which nothing is open that was not before. */
export async function runClean(options: LoadOptions, hooks: RunHooks = {}): Promise<Report> {
  const baseline = openResources();
  try {
    return await runLoad(options, hooks);
  } finally {
    // The other ends of our connections live in this process as well.
    assert.deepEqual(await residueSince(baseline), []);
  }
}

/** A run that goes on until something has been counted, however slow the machine is. */
export function until(reached: (tally: Tally) => boolean): RunHooks {
  const stop = new AbortController();
  return {
    stop: stop.signal,
    tickMs: 10,
    onTick: (tally) => {
      if (reached(tally)) stop.abort();
    },
  };
}

export const LONG = { durationMs: 20_000 };
export const anError = () => until(({ errorCount }) => errorCount > 0);
export const twoPulls = () => until(({ pulls }) => pulls >= 2);

export const KINDS: readonly ClientKind[] = ["dockerd", "containerd", "podman"];
