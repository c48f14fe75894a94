/**
 * What `wharfinger check` can be told.
 */
import type { Argv } from "yargs";
import { messageOf } from "../base/failure.ts";
import { parseRegistryName } from "../config/registry-name.ts";
import { parseReference, parseRepository } from "../oci/reference.ts";
import type { ProbeImage } from "../upstream/probe/probe-images.ts";
import { type Given, invalid, OUTPUT_FLAGS, type Outputs, readOutputs, word } from "./flags.ts";
import { listSettings, readSettings, settingFlags } from "./setting-flags.ts";

export interface CheckRequest extends Outputs {
  readonly file: string | undefined;
  /** Settings by flag, as `serve` takes them. */
  readonly flags: Readonly<Record<string, unknown>>;
  readonly offline: boolean;
  /** The only one to ask. */
  readonly upstream: string | undefined;
  readonly image: ProbeImage | undefined;
  readonly quiet: boolean;
}

/** `--offline` is the command's own: a mirror that is offline is not asked for its upstreams' answers either. */
const SETTINGS = listSettings(new Set(["offline", "config", "upstream", "repository", ...Object.keys(OUTPUT_FLAGS)]));

export const CHECK_COMMAND = "check";
export const CHECK_SUMMARY = "Say what is wrong with the configuration, and what each upstream answers to it";

export function checkFlags(command: Argv): Argv {
  const described = command
    .usage(
      `$0 check [--config FILE] [--offline]\n\n${CHECK_SUMMARY}.\n\nAsks each upstream for GET /v2/, a token, and HEAD of one manifest, which is no pull.`,
    )
    .options({
      config: { type: "string", requiresArg: true, describe: "Configuration file (YAML)" },
      offline: {
        type: "boolean",
        default: false,
        describe: "Ask nobody: only look whether everything can be read",
      },
      upstream: { type: "string", requiresArg: true, describe: "Ask this one alone, by its name in image references" },
      repository: {
        type: "string",
        requiresArg: true,
        describe: "Ask about this repository (NAME or NAME:TAG) instead of a well-known one",
      },
      ...OUTPUT_FLAGS,
    })
    .example("$0 check --config wharfinger.yaml", "Everything, before a start or a restart")
    .example("$0 check --offline --config wharfinger.yaml", "In a pipeline that has neither network nor registries")
    .example("$0 check --upstream ghcr.io --repository owner/private", "May this account pull that?")
    .example("$0 check --json | jq '.upstreams[] | select(.result != \"ok\")'", "For scripts")
    .epilogue(
      "Exit codes: 0 all is well; 1 an upstream is degraded (of several accounts or endpoints one is not well), cannot be " +
        "reached, its limit is used up, or our own credentials for it cannot be had; 2 bad usage or configuration; 3 no such " +
        "upstream; 4 an upstream refuses all of our accounts, or what is asked for. Of several, 4 goes before 1.",
    );
  return settingFlags(described, SETTINGS);
}

/** @throws Failure `invalid` */
export function readCheck(given: Given): CheckRequest {
  const words = Array.isArray(given["_"]) ? given["_"].map(String) : [];
  if (words[1] !== undefined) throw invalid(words[1].slice(0, 100), "unknown argument");
  const upstream = word("upstream", given);
  return {
    file: word("config", given),
    flags: readSettings(given, SETTINGS),
    offline: given["offline"] === true,
    upstream: upstream === undefined ? undefined : named("--upstream", () => parseRegistryName(upstream)),
    image: readImage(word("repository", given)),
    quiet: given["quiet"] === true,
    ...readOutputs(given),
  };
}

function readImage(text: string | undefined): ProbeImage | undefined {
  if (text === undefined) return undefined;
  return named("--repository", () => {
    const colon = text.lastIndexOf(":");
    const tagged = colon > text.lastIndexOf("/");
    const repository = parseRepository(tagged ? text.slice(0, colon) : text);
    const reference = parseReference(tagged ? text.slice(colon + 1) : "latest");
    if (reference.type !== "tag") throw invalid("--repository", "expected NAME or NAME:TAG");
    return { repository, tag: reference.tag };
  });
}

function named<T>(flag: string, parse: () => T): T {
  try {
    return parse();
  } catch (error) {
    throw invalid(flag, messageOf(error));
  }
}
