/**
 * `/api/v1/pins`: what never leaves. A pin on a tag follows the tag; what is not cached yet is pinned for when it comes.
 */
import * as z from "zod";
import type { Clock } from "../base/clock.ts";
import { Failure, isFailure } from "../base/failure.ts";
import type { Images } from "../meta/images.ts";
import type { Inventory } from "../meta/inventory.ts";
import type { Pin, Pins } from "../meta/pins.ts";
import { parseManifest } from "../oci/manifest.ts";
import { offersPlatform, parsePlatforms, platformText } from "../oci/platform.ts";
import { referenceText } from "../oci/reference.ts";
import { timeText } from "./images.ts";
import type { Narrowing } from "./narrowing.ts";
import { type JsonOperation, jsonOperation, type Operation } from "./operation.ts";
import type { ManifestReader } from "./platforms.ts";
import { queryNumber } from "./query.ts";
import { imageReference, imageText, type NamedImage } from "./reference.ts";
import { breathing } from "./walk.ts";

export interface PinsParts {
  readonly pins: Pins;
  readonly narrowing: Pick<Narrowing, "refresh">;
  readonly inventory: Pick<Inventory, "findMediaType" | "findSize">;
  readonly images: Pick<Images, "missingOf">;
  readonly read: ManifestReader;
  readonly clock: Clock;
}

export const PIN = z.object({
  reference: z.string(),
  platforms: z.array(z.string()).describe("None: all of them"),
  pinnedAt: z.string().describe("ISO 8601"),
  digest: z.string().nullable().describe("What it names now; null: nothing is cached of it yet"),
  cached: z.boolean(),
  missing: z.int().describe("How many of the manifests and layers of its platforms are not stored"),
});
export type PinAnswer = z.output<typeof PIN>;

const PLATFORMS = z
  .array(z.string().max(100))
  .max(50)
  .default([])
  .transform((given, context): readonly string[] => {
    try {
      return given.length === 0 ? [] : parsePlatforms(given.join(",")).map(platformText);
    } catch (error) {
      if (!isFailure(error)) throw error;
      context.addIssue({ code: "custom", message: error.message });
      return z.NEVER;
    }
  })
  .describe("os/architecture[/variant]; none: all of them");

const MAX_PINS = 10_000;
const MAX_MANIFEST_BYTES = 4 * 1024 * 1024;

export function pinOperations(parts: PinsParts): readonly Operation[] {
  return [listOperation(parts), pinOperation(parts), unpinOperation(parts)];
}

function listOperation(parts: PinsParts): Operation {
  const input = z.strictObject({
    limit: queryNumber("How many in a page", 1000, { most: 1000 }),
    after: imageReference.optional().describe("The last reference of the page before"),
  });
  const operation: JsonOperation<z.output<typeof input>> = {
    method: "GET",
    path: "/api/v1/pins",
    summary: "What is pinned, in the order of names",
    input,
    answers: "json",
    output: z.object({ pins: z.array(PIN) }),
    async run({ limit, after }, { signal }) {
      const breath = breathing(signal);
      const from = after === undefined ? undefined : { place: after.place, reference: referenceText(after.reference) };
      const answers: PinAnswer[] = [];
      for (const pin of parts.pins.list(limit, from)) {
        answers.push(answerOf(pin, parts));
        await breath();
      }
      return { pins: answers };
    },
  };
  return jsonOperation(operation);
}

function pinOperation(parts: PinsParts): Operation {
  const { pins, narrowing, clock } = parts;
  const input = z.strictObject({ reference: imageReference, platforms: PLATFORMS });
  const operation: JsonOperation<z.output<typeof input>> = {
    method: "PUT",
    path: "/api/v1/pins",
    summary: "Pins an image, all of it or some of its platforms: it is never evicted",
    input,
    answers: "json",
    output: PIN,
    async run({ reference: named, platforms }) {
      const text = referenceText(named.reference);
      const known = pins.find(named.place, text);
      if (known === undefined && pins.list(MAX_PINS).length >= MAX_PINS) {
        throw new Failure("overloaded", `there are ${MAX_PINS} pins already`);
      }
      pins.put(named.place, text, platforms, clock.now());
      try {
        await requirePlatforms(parts, named, platforms);
      } catch (error) {
        pins.drop(named.place, text);
        if (known !== undefined) pins.put(named.place, text, known.platforms, known.pinnedAt);
        throw error;
      } finally {
        await narrowing.refresh();
      }
      return answerOf(required(pins.find(named.place, text), named), parts);
    },
  };
  return jsonOperation(operation);
}

function unpinOperation({ pins, narrowing }: PinsParts): Operation {
  const input = z.strictObject({ reference: imageReference });
  const operation: JsonOperation<z.output<typeof input>> = {
    method: "DELETE",
    path: "/api/v1/pins",
    summary: "Unpins an image: it may leave when room is needed",
    input,
    answers: "json",
    output: z.object({ reference: z.string() }),
    async run({ reference: named }) {
      if (!pins.drop(named.place, referenceText(named.reference))) required(undefined, named);
      await narrowing.refresh();
      return { reference: imageText(named) };
    },
  };
  return jsonOperation(operation);
}

/** A platform that an index does not have was misspelt. @throws Failure `unknown` */
async function requirePlatforms(
  { pins, inventory, read }: PinsParts,
  named: NamedImage,
  platforms: readonly string[],
): Promise<void> {
  const digest = pins.find(named.place, referenceText(named.reference))?.digest;
  if (digest === undefined || platforms.length === 0) return;
  const mediaType = inventory.findMediaType(digest);
  const bytes = mediaType === undefined ? undefined : await read(digest, MAX_MANIFEST_BYTES);
  if (bytes === undefined) return;
  const { manifests } = parseManifest(bytes, mediaType);
  const missing = parsePlatforms(platforms.join(",")).filter((wanted) => !offersPlatform(manifests, wanted));
  if (missing.length === 0 || manifests.length === 0) return;
  const has = manifests.flatMap(({ platform }) =>
    platform === undefined || platform.startsWith("unknown") ? [] : [platform],
  );
  throw new Failure(
    "unknown",
    `${imageText(named)} is not for ${missing.map(platformText).join(", ")}; it is for ${[...new Set(has)].slice(0, 30).join(", ")}`,
  );
}

function required(pin: Pin | undefined, named: NamedImage): Pin {
  if (pin === undefined) throw new Failure("unknown", `${imageText(named)} is not pinned`);
  return pin;
}

export interface PinLookup {
  readonly inventory: Pick<Inventory, "findSize">;
  readonly images: Pick<Images, "missingOf">;
}

export function answerOf(pin: Pin, { inventory, images }: PinLookup): PinAnswer {
  const { place, reference, platforms, pinnedAt, digest } = pin;
  const mark = reference.includes(":") ? "@" : ":";
  return {
    reference: `${place.upstream}/${place.repository}${mark}${reference}`,
    platforms: [...platforms],
    pinnedAt: timeText(pinnedAt),
    digest: digest ?? null,
    cached: digest !== undefined && inventory.findSize(digest) !== undefined,
    missing: digest === undefined ? 0 : images.missingOf(digest),
  };
}
