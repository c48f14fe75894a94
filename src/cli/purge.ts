/**
 * `wharfinger purge`: images that shall be gone. For more than one, whoever sits at the terminal is asked first.
 */
import type { Argv } from "yargs";
import type { Kept, Purged, PurgeResult } from "../api/purge.ts";
import { Failure, messageOf } from "../base/failure.ts";
import { parseRegistryName } from "../config/registry-name.ts";
import { parseDuration, sizeText } from "../config/units.ts";
import type { Command } from "./command.ts";
import { type AtDesk, type DeskCommand, deskFlags, runAtDesk } from "./desk-command.ts";
import { EXIT } from "./exit.ts";
import { type Given, invalid, word } from "./flags.ts";
import { readPattern } from "./ls.ts";
import { SIGNAL_EXIT } from "./signals.ts";
import { plain } from "./wording.ts";

interface PurgeRequest {
  /** As the operation takes it. */
  readonly input: Readonly<Record<string, unknown>>;
  readonly dryRun: boolean;
  readonly yes: boolean;
}

const SUMMARY = "Remove images, and what nobody else needs of them";
const COMMAND: DeskCommand<PurgeRequest> = { name: "purge", use: "look", read, run };

export const purgeCommand: Command = {
  usage: "purge [ref]",
  summary: SUMMARY,
  flags,
  run: (given, world) => runAtDesk(COMMAND, given, world),
  json: "alone before words",
};

function flags(command: Argv): Argv {
  const described = command
    .usage(
      `$0 purge REF | --repository NAME | --upstream NAME | --older-than 30d\n\n${SUMMARY}: layers that others use stay, and so does what is pinned.\nThe next pull fetches again.`,
    )
    .positional("ref", { type: "string", describe: "One image as Docker writes it: alpine:3.20, ghcr.io/app@sha256:…" })
    .options({
      repository: {
        type: "string",
        requiresArg: true,
        describe: "All of a repository: NAME, REGISTRY/NAME; * is any text in one component, ** any components",
      },
      upstream: { type: "string", requiresArg: true, describe: "All of this upstream" },
      "older-than": { type: "string", requiresArg: true, describe: "What nobody has used for so long: 30d" },
      "dry-run": { type: "boolean", default: false, describe: "Only say what would go" },
      yes: { type: "boolean", default: false, alias: "y", describe: "Do not ask" },
      force: { type: "boolean", default: false, describe: "What is pinned too, and its pins" },
    })
    .example("$0 purge alpine:3.20", "One image")
    .example("$0 purge --repository ghcr.io/owner/app --older-than 30d", "What is old of one repository")
    .example("$0 purge --upstream quay.io --dry-run", "What would go of one registry")
    .example("$0 purge --older-than 90d --yes", "From a timer")
    .epilogue("Exit codes: 0 done, 2 more than one image and nobody to ask (give --yes), 3 not cached, 4 pinned.");
  return deskFlags(described);
}

function read(given: Given): PurgeRequest {
  const { ref } = given;
  const reference = typeof ref === "string" && ref !== "" ? ref : undefined;
  const [repository, upstream, age] = ["repository", "upstream", "older-than"].map((flag) => word(flag, given));
  const isSet = repository !== undefined || upstream !== undefined || age !== undefined;
  if (reference === undefined && !isSet) throw invalid("REF", "which image? Or --repository, --upstream, --older-than");
  if (reference !== undefined && isSet) throw invalid("REF", "give an image, or say which by flags; not both");
  const named = repository === undefined ? {} : readPattern(repository);
  if (named["tag"] !== undefined) throw invalid("--repository", "a repository has no tag; give REF for one image");
  const own = upstream === undefined ? undefined : attempt("--upstream", () => parseRegistryName(upstream));
  if (own !== undefined && named["upstream"] !== undefined && named["upstream"] !== own) {
    throw invalid("--upstream", "--repository names another registry");
  }
  const input = {
    reference,
    ...named,
    ...(own === undefined ? {} : { upstream: own }),
    ...(age === undefined ? {} : { olderThanMs: attempt("--older-than", () => parseDuration(age)) }),
    force: given["force"] === true,
  };
  return { input, dryRun: given["dry-run"] === true, yes: given["yes"] === true };
}

function attempt<T>(flag: string, parse: () => T): T {
  try {
    return parse();
  } catch (error) {
    throw invalid(flag, messageOf(error));
  }
}

async function run({ input, dryRun, yes }: PurgeRequest, at: AtDesk): Promise<number> {
  if (!dryRun && !yes && input["reference"] === undefined) {
    const plan = await purge({ ...input, dryRun: true }, at.desk);
    const refusal = plan.result.images > 1 ? await refusalOf(plan.result, at) : undefined;
    if (refusal !== undefined) {
      at.world.stderr.write("wharfinger: nothing was removed\n");
      return refusal;
    }
  }
  const { removed, kept, more, result } = await purge({ ...input, dryRun }, at.desk);
  const verb = dryRun ? "would remove" : "removed";
  const lines = at.quiet
    ? []
    : [
        ...removed.map(
          ({ references, freedBytes }) => `${verb} ${references.map(plain).join(", ")} (${sizeText(freedBytes)})`,
        ),
        ...(more > 0 ? [`… and ${more} more`] : []),
      ];
  const stays = kept.map(({ references, reason }) => `kept ${references.map(plain).join(", ")}: ${reason}`);
  const sum = at.quiet ? [] : [sumText(result)];
  const text = [...lines, ...stays, ...sum].map((line) => `${line}\n`).join("");
  at.write({ text, json: { format: "wharfinger-purge/1", ...result, removed, keptImages: kept, untold: more } });
  return nothingMatched(input, result) ? notFound(at) : EXIT.done;
}

/** That nothing is old enough is as it should be; that nothing is named so may be a slip of the pen. */
function nothingMatched(input: PurgeRequest["input"], { images, kept, blobs }: PurgeResult): boolean {
  return images + kept + blobs === 0 && input["olderThanMs"] === undefined;
}

function notFound({ world }: AtDesk): number {
  world.stderr.write("wharfinger: nothing that is stored matches; wharfinger ls lists what is\n");
  return EXIT.notFound;
}

/** @returns the exit code of somebody who does not want it; undefined: go on. */
async function refusalOf({ images, freedBytes }: PurgeResult, { world }: AtDesk): Promise<number | undefined> {
  const question = `Remove ${images} images and free at least ${sizeText(freedBytes)}? [y/N] `;
  const answer = await world.ask?.(question);
  if (answer === undefined)
    throw new Failure("invalid", `this would remove ${images} images: give --yes, or --dry-run to see them`);
  if (typeof answer !== "string") return answer.left === "interrupted" ? SIGNAL_EXIT.SIGINT : EXIT.failed;
  return /^\s*y(?:es)?\s*$/i.test(answer) ? undefined : EXIT.done;
}

interface Told {
  readonly removed: readonly Purged[];
  readonly kept: readonly Kept[];
  /** That are not among these. */
  readonly more: number;
  readonly result: PurgeResult;
}

/** So many are held in memory and told. */
const MAX_TOLD = 10_000;

async function purge(input: object, desk: AtDesk["desk"]): Promise<Told> {
  const removed: Purged[] = [];
  const kept: Kept[] = [];
  let more = 0;
  for await (const event of desk.events("/api/v1/purge", input)) {
    if (event.event === "done")
      return { removed, kept, more, result: (event as unknown as { result: PurgeResult }).result };
    const { event: kind, ...told } = event;
    const list: object[] = kind === "kept" ? kept : removed;
    if (list.length < MAX_TOLD) list.push(told);
    else more += 1;
  }
  throw new Failure("unreachable", "the mirror broke off before the work was done");
}

function sumText({ images, blobs, freedBytes, kept, dryRun }: PurgeResult): string {
  const count = images === 1 ? "1 image" : `${images} images`;
  const held = kept === 0 ? "" : `; ${kept} kept`;
  return `${count}, ${blobs} blobs, ${sizeText(freedBytes)}${dryRun ? " at least would be free" : " freed"}${held}`;
}
