/**
 * What `wharfinger scrub` takes.
 */
import type { Argv } from "yargs";
import { isFailure } from "../base/failure.ts";
import { parseSize } from "../config/units.ts";
import { type Given, invalid, word } from "./flags.ts";
import { readReferences } from "./pin.ts";

export const SCRUB_COMMAND = "scrub [refs..]";
export const SCRUB_SUMMARY = "Read everything that is stored, and take out what is damaged";

export interface ScrubRequest {
  /** None = everything. */
  readonly references: readonly string[];
  /** Bytes per second; null = no limit, undefined = as configured. */
  readonly bandwidth: number | null | undefined;
  readonly rebuild: boolean;
  readonly restart: boolean;
  readonly join: boolean;
}

const MIN_BANDWIDTH = 64 * 1024;
const UNLIMITED = new Set(["none", "null"]);

export function describeScrub(command: Argv): Argv {
  return command
    .positional("refs", {
      type: "string",
      array: true,
      describe: "Only these images, as Docker writes them, with all that is stored of them",
    })
    .option("bandwidth", {
      type: "string",
      requiresArg: true,
      describe: "Bytes read per second at most, such as 200MiB, or none; default cache.scrub.bandwidth",
    })
    .option("rebuild", {
      type: "boolean",
      default: false,
      describe: "First make the index of the files: what they are, and what they name",
    })
    .option("restart", {
      type: "boolean",
      default: false,
      describe: "Begin anew, where an earlier one was stopped half way",
    })
    .option("join", { type: "boolean", default: false, describe: "Watch the one that runs, if one does" })
    .example("$0 scrub", "Go on where the last one was stopped, or begin anew")
    .example("$0 scrub alpine:3.20", "One image, now")
    .example("$0 scrub --bandwidth none", "As fast as the disk goes")
    .example("$0 scrub --rebuild", "After a loss of the index, or files that were copied here")
    .example("$0 scrub --quiet || mail -s damage admin", "In a script")
    .epilogue(
      "What does not match its digest is moved to quarantine/ in the cache directory, and fetched again when somebody asks for it.\n" +
        "The mirror does the same by itself: see cache.scrub.schedule.\n" +
        "Exit codes: 0 nothing is damaged, 1 damage was found or the scrub failed, 2 bad usage, 3 an image is not stored, 4 the one that was joined was stopped.",
    );
}

/** @throws Failure `invalid` */
export function readScrub(given: Given): ScrubRequest {
  return {
    references: readReferences(given),
    bandwidth: bandwidthOf(word("bandwidth", given)),
    rebuild: given["rebuild"] === true,
    restart: given["restart"] === true,
    join: given["join"] === true,
  };
}

function bandwidthOf(text: string | undefined): number | null | undefined {
  if (text === undefined) return undefined;
  if (UNLIMITED.has(text)) return null;
  try {
    const bytes = parseSize(text);
    if (bytes >= MIN_BANDWIDTH) return bytes;
  } catch (error) {
    if (!isFailure(error, "invalid")) throw error;
  }
  throw invalid("--bandwidth", "expected a size of 64KiB or more, such as 200MiB, or none");
}
