/**
 * Travel without a network, asked of the admin API: a bundle of stored images as a tar stream, an archive taken in, and
 * the digests of all that is stored, so that the other side need not send that.
 */
import { rm } from "node:fs/promises";
import { join } from "node:path";
import * as z from "zod";
import { Failure, isFailure } from "../base/failure.ts";
import { streamBundle } from "../bundle/export.ts";
import { type ImportParts, type ImportProgress, type ImportResult, importArchive } from "../bundle/import.ts";
import { type ImageName, parseImageName, parsePlace } from "../bundle/names.ts";
import { type PlanParts, planBundle } from "../bundle/plan.ts";
import { parsePublicKey } from "../bundle/signature.ts";
import { Turns } from "../bundle/turns.ts";
import { parseWarmName, routeWarmName } from "../bundle/warm-target.ts";
import type { Relations } from "../meta/relations.ts";
import type { Source } from "../mirror/route.ts";
import { type Digest, parseDigest } from "../oci/digest.ts";
import { parsePlatform } from "../oci/platform.ts";
import type { DiskStore } from "../store/disk.ts";
import type { RoutingTable } from "../upstream/registries/routing.ts";
import { withoutStalls } from "./intake.ts";
import { eventOperation, jsonOperation, type Operation, streamOperation } from "./operation.ts";
import { queryNumber } from "./query.ts";

export interface BundleParts extends PlanParts, ImportParts {
  readonly store: DiskStore;
  readonly inventory: PlanParts["inventory"] & ImportParts["inventory"];
  readonly graph: PlanParts["graph"] & ImportParts["graph"];
  readonly tags: PlanParts["tags"] & ImportParts["tags"];
  readonly relations: PlanParts["relations"] & Relations;
  /** The versioned directory below `cache.dir`. */
  readonly root: string;
  readonly routing: RoutingTable<Source>;
}

const reference = z.string().min(1).max(600);
const digest = z.string().max(200);

const exportInput = z.object({
  references: z.array(reference).min(1).max(20_000).describe("Images, as Docker writes them"),
  platforms: z.array(z.string().max(200)).max(50).default([]).describe("linux/amd64, …; none is all of them"),
  have: z
    .union([z.array(digest).max(10_000), z.string()])
    .default([])
    .describe("Digests that are left out, for the other side has them: a list, or one text with a digest on each line"),
  since: digest.optional().describe("Digest of the contents of the bundle that brought them there"),
});

/** One long text is read from JSON a hundred times sooner than as many words. */
const MAX_EXPORT_BYTES = 16 * 1024 * 1024;

const importInput = z.object({
  as: z.string().max(400).optional().describe("The repository of what has a tag alone for a name, or none"),
  archiveBytes: z.coerce
    .number()
    .int()
    .min(0)
    .optional()
    .describe("How large it is, where that is known: what never fits is refused at once"),
  verifyKey: z.string().max(10_000).optional().describe("Public Ed25519 key (PEM): only what is signed by it is taken"),
});

const progress = z.object({
  readBytes: z.number(),
  totalBytes: z.number().optional().describe("Of a bundle, which says what it carries"),
  takenBlobs: z.number(),
});

const importDone = z.object({
  signature: z.enum(["verified", "not checked", "none"]),
  createdAt: z.string().nullable().describe("Of a bundle"),
  references: z.array(
    z.object({
      name: z.string(),
      digest: z.string(),
      tag: z.enum(["named", "newer here"]).describe("newer here: the upstream said something else later; it stays"),
      served: z.boolean().describe("false: no upstream of that name is configured"),
    }),
  ),
  taken: z.object({ blobs: z.number(), bytes: z.number() }),
  knownBlobs: z.number().describe("Of the archive, that were stored before"),
  notes: z.array(z.string()),
});

export type ImportDone = z.output<typeof importDone>;

const inventoryOutput = z.object({ digests: z.array(z.string()), next: z.string().nullable() });

const PROGRESS_MS = 500;

export function bundleOperations(parts: BundleParts): Operation[] {
  let cleared: Promise<void> | undefined;
  const spoolDirectory = join(parts.root, "import");
  return [
    streamOperation({
      method: "POST",
      path: "/api/v1/export",
      summary: "A bundle of stored images: an OCI image layout in a tar archive, its contents first.",
      answers: "stream",
      contentTypes: ["application/x-tar"],
      input: exportInput,
      maxBodyBytes: MAX_EXPORT_BYTES,
      async run(input, { signal }) {
        const references: ImageName[] = [];
        const turns = new Turns();
        for (const text of input.references) {
          await turns.pass();
          references.push(storedName(parts.routing, text));
        }
        const plan = await planBundle(parts, {
          references,
          platforms: input.platforms.map(parsePlatform),
          have: await readDigests(input.have),
          since: input.since === undefined ? undefined : parseDigest(input.since),
          createdAt: parts.clock.now(),
        });
        return { contentType: "application/x-tar", ...streamBundle(parts.store, plan, signal) };
      },
    }),
    eventOperation({
      method: "POST",
      path: "/api/v1/import",
      summary: "Takes in a bundle, any OCI image layout, or an archive of docker save: tar, also with gzip or zstd.",
      answers: "events",
      takesStream: true,
      tells: { progress, done: importDone },
      input: importInput,
      async *run(input, { signal, body }) {
        if (body === undefined) throw new Failure("invalid", "there is no archive");
        const options = {
          verifyKey: input.verifyKey === undefined ? undefined : parsePublicKey(input.verifyKey),
          as: input.as === undefined ? undefined : parsePlace(input.as),
          archiveBytes: input.archiveBytes,
          ...{ spoolDirectory, signal },
        };
        // What a crash has left there.
        cleared ??= rm(spoolDirectory, { recursive: true, force: true });
        await cleared;
        let latest: ImportProgress | undefined;
        const work = importArchive(parts, withoutStalls(body, parts.clock), options, (told) => {
          latest = told;
        });
        work.catch(() => {});
        try {
          for (;;) {
            const result = await settledWithin(parts, work);
            if (result !== undefined) {
              yield { event: "done", result: doneOf(result, parts.routing) };
              return;
            }
            if (latest !== undefined) yield { event: "progress", ...latest };
          }
        } finally {
          // Whoever has left aborted the signal: nothing of it runs when this is over.
          body.destroy();
          await work.catch(() => {});
        }
      },
    }),
    jsonOperation({
      method: "GET",
      path: "/api/v1/inventory",
      summary: "Digests of all that is stored, in their order: what an export for this side can leave out.",
      answers: "json",
      input: z.object({
        after: z.string().max(200).default("").describe("The last digest of the page before"),
        limit: queryNumber("How many at most", 10_000, { most: 50_000 }),
      }),
      output: inventoryOutput,
      run({ after, limit }) {
        const digests = parts.relations.digestsAfter(after === "" ? "" : parseDigest(after), limit);
        return { digests, next: digests.length < limit ? null : (digests.at(-1) ?? null) };
      },
    }),
  ];
}

async function readDigests(given: string | readonly string[]): Promise<Set<Digest>> {
  const found = new Set<Digest>();
  const turns = new Turns();
  for (const text of typeof given === "string" ? linesIn(given) : given) {
    await turns.pass();
    if (text !== "") found.add(parseDigest(text));
  }
  return found;
}

function* linesIn(text: string): Generator<string> {
  for (let at = 0; at < text.length; ) {
    const end = text.indexOf("\n", at);
    yield text.slice(at, end < 0 ? text.length : end).trim();
    at = end < 0 ? text.length : end + 1;
  }
}

/** Where pulls of that name are stored; of a registry that is not configured (any more), where they were. */
function storedName(routing: RoutingTable<Source>, text: string): ImageName {
  const name = parseImageName(text);
  try {
    const { upstream, repository } = routeWarmName(routing, parseWarmName(text));
    return { ...name, place: { upstream, repository } };
  } catch (error) {
    if (!isFailure(error)) throw error;
    return name;
  }
}

async function settledWithin({ clock }: BundleParts, work: Promise<ImportResult>): Promise<ImportResult | undefined> {
  const { promise: later, resolve } = Promise.withResolvers<undefined>();
  const cancel = clock.after(PROGRESS_MS, () => resolve(undefined));
  try {
    return await Promise.race([work, later]);
  } finally {
    cancel();
  }
}

function doneOf(result: ImportResult, routing: RoutingTable<Source>): ImportDone {
  const { signature, createdAt, references, taken, knownBlobs, notes } = result;
  return {
    signature,
    createdAt: createdAt === undefined ? null : new Date(createdAt).toISOString(),
    references: references.map((one) => ({ ...one, served: routing.find(upstreamOf(one.name)) !== undefined })),
    taken,
    knownBlobs,
    notes: [...notes],
  };
}

/** Names are in full form here. */
function upstreamOf(name: string): string {
  return name.slice(0, name.indexOf("/"));
}
