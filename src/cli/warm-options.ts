/**
 * What `wharfinger warm` takes: images by name and from a list, platforms, a pattern for tags.
 */
import { readFileSync } from "node:fs";
import type { Argv } from "yargs";
import { messageOf } from "../base/failure.ts";
import { parseDuration } from "../config/units.ts";
import { parsePlatforms, platformText } from "../oci/platform.ts";
import { type Given, invalid, word } from "./flags.ts";

export const WARM_COMMAND = "warm [references..]";
export const WARM_SUMMARY = "Fetch whole images ahead of demand";

export interface WarmOptions {
  readonly references: readonly string[];
  /** The list is still to be read from standard input. */
  readonly fromInput: boolean;
  readonly platforms: readonly string[];
  readonly allTags: string | undefined;
  readonly wait: string | undefined;
}

const MAX_LIST_BYTES = 4 * 1024 * 1024;

export function describeWarm(command: Argv): Argv {
  return command
    .positional("references", {
      type: "string",
      array: true,
      describe: "Images as Docker writes them: alpine, ghcr.io/owner/app:1.2",
    })
    .option("file", {
      type: "string",
      requiresArg: true,
      describe: "A list: one image per line, # begins a comment, - is standard input",
    })
    .option("platform", {
      type: "string",
      requiresArg: true,
      describe: "Platforms to fetch, such as linux/amd64,linux/arm64; default all",
    })
    .option("all-tags", {
      type: "string",
      requiresArg: true,
      describe: 'All tags of the images that match, such as "3.*"',
    })
    .option("wait", {
      type: "string",
      requiresArg: true,
      describe: "How long to wait where an upstream's limit is used up; default 15m, 0 = not at all",
    })
    .example("$0 warm alpine:3.20 ghcr.io/owner/app:1.2", "Two images, for all their platforms, with their signatures")
    .example("$0 warm --file images.txt --platform linux/amd64", "Those of a list, for one platform")
    .example('$0 warm --all-tags "1.2?.*" nginx', "Many tags of one image")
    .example("kubectl … | $0 warm --file - --wait 6h", "What another program names, over night if need be")
    .epilogue(
      "What is stored is not fetched again, so a run that was broken off is begun anew with the same words.\n" +
        "Exit codes: 0 all of them are there, 1 some failed, 2 bad usage, 3 some do not exist, 4 some were refused.",
    );
}

/** @throws Failure `invalid` */
export function readWarm(given: Given): WarmOptions {
  const words = given["references"];
  const named = Array.isArray(words) ? words.map(String) : [];
  const file = word("file", given);
  const platform = word("platform", given);
  const wait = word("wait", given);
  const fromInput = file === "-";
  const listed = file === undefined || fromInput ? [] : referencesIn(readList(file));
  if (wait !== undefined) refuseAs("--wait", () => parseDuration(wait));
  const platforms = platform === undefined ? [] : refuseAs("--platform", () => parsePlatforms(platform));
  const references = [...named, ...listed];
  if (references.length === 0 && !fromInput) throw invalid("warm", "expected images, or --file with a list of them");
  return { references, fromInput, platforms: platforms.map(platformText), allTags: word("all-tags", given), wait };
}

/** One on each line. */
export function referencesIn(text: string): string[] {
  return text
    .split(/\r?\n/)
    .map((line) => line.replace(/(?:^|\s)#.*$/, "").trim())
    .filter((line) => line !== "");
}

/** @throws Failure `invalid` where it is too long. */
export async function readInput(input: AsyncIterable<string | Buffer>): Promise<string> {
  let text = "";
  for await (const piece of input) {
    text += String(piece);
    if (text.length > MAX_LIST_BYTES) throw invalid("--file", "the list is too long");
  }
  return text;
}

function readList(file: string): string {
  let text: string;
  try {
    text = readFileSync(file, "utf8");
  } catch (error) {
    throw invalid("--file", messageOf(error));
  }
  if (text.length > MAX_LIST_BYTES) throw invalid("--file", "the list is too long");
  return text;
}

function refuseAs<T>(flag: string, read: () => T): T {
  try {
    return read();
  } catch (error) {
    throw invalid(flag, messageOf(error));
  }
}
