/**
 * `POST /api/v1/warm`: fetches whole images ahead of demand, and tells how it goes.
 */
import * as z from "zod";
import { isFailure } from "../base/failure.ts";
import type { Warmer, WarmSummary } from "../bundle/warm.ts";
import { parseDuration } from "../config/units.ts";
import { parsePlatform } from "../oci/platform.ts";
import { type ApiEvent, eventOperation, type Operation } from "./operation.ts";

const MAX_REFERENCES = 5000;
const MAX_REFERENCE = 600;
/** Limits that pass in minutes are waited for; those of hours only where that is asked for. */
export const DEFAULT_WAIT = "15m";
const MAX_WAIT_MS = 7 * 24 * 60 * 60_000;

const input = z.strictObject({
  references: z
    .array(z.string().min(1).max(MAX_REFERENCE))
    .min(1)
    .max(MAX_REFERENCES)
    .describe("Images, as Docker writes them; without a tag it is latest"),
  platforms: z
    .array(z.string().max(200).transform(read(parsePlatform)))
    .max(50)
    .default([])
    .describe("os/architecture[/variant]; none = all that an image has"),
  allTags: z
    .string()
    .min(1)
    .max(128)
    .optional()
    .describe("All tags of the named repositories that match, * and ? being any text and any character"),
  wait: z
    .string()
    .max(20)
    .default(DEFAULT_WAIT)
    .transform(read(parseWait))
    .describe("How long the limit of an upstream is waited for, such as 6h; 0 = not at all"),
});

const SUMS = { doneBytes: z.int(), totalBytes: z.int().describe("Of what is known so far: it grows") };
const FAILURE = { reference: z.string(), kind: z.string(), message: z.string() };
const FETCHED = {
  fetchedBytes: z.int(),
  storedBytes: z.int().describe("Of what was stored before"),
  durationMs: z.int(),
};

const tells = {
  progress: z.object({
    running: z.array(
      z.object({
        ...{ reference: z.string(), ...SUMS },
        waiting: z.object({ what: z.string(), ms: z.int() }).optional(),
      }),
    ),
    total: z.object({ ...SUMS, images: z.int(), ended: z.int() }),
  }),
  image: z.object({
    ...{ reference: z.string(), digest: z.string(), manifests: z.int(), blobs: z.int(), ...FETCHED },
    missingPlatforms: z.array(z.string()).describe("Wanted ones that the image is not made for"),
  }),
  imageFailed: z.object(FAILURE),
  done: z.object({ result: z.object({ images: z.int(), ...FETCHED, failed: z.array(z.object(FAILURE)) }) }),
};

export function warmOperation(warmer: Warmer): Operation {
  return eventOperation<z.output<typeof input>>({
    method: "POST",
    path: "/api/v1/warm",
    summary: "Fetches whole images ahead of demand: indexes, manifests, layers, referrers and signatures",
    input: input as unknown as z.ZodType<z.output<typeof input>>,
    answers: "events",
    tells,
    async *run({ references, platforms, allTags, wait }, { signal }): AsyncGenerator<ApiEvent> {
      const events = warmer.run({ references, platforms, allTags, waitMs: wait }, signal);
      yield { event: "done", result: yield* told(events) };
    },
  });
}

async function* told(events: ReturnType<Warmer["run"]>): AsyncGenerator<ApiEvent, WarmSummary> {
  try {
    for (;;) {
      const next = await events.next();
      if (next.done === true) return next.value;
      yield { ...next.value };
    }
  } finally {
    await events.return({ images: 0, fetchedBytes: 0, storedBytes: 0, durationMs: 0, failed: [] });
  }
}

function parseWait(text: string): number {
  return Math.min(MAX_WAIT_MS, parseDuration(text));
}

/** What `parse` throws becomes the fault. */
function read<T>(parse: (text: string) => T) {
  return (text: string, context: z.core.$RefinementCtx): T => {
    try {
      return parse(text);
    } catch (error) {
      if (!isFailure(error)) throw error;
      context.addIssue({ code: "custom", message: error.message });
      return z.NEVER;
    }
  };
}
