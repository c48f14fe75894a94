/**
 * Reading what yargs found: one value for each flag, and a fault that names the flag.
 */
import { readFileSync } from "node:fs";
import { Failure, messageOf } from "../base/failure.ts";

export type Given = Readonly<Record<string, unknown>>;

/** Where a command's result goes: names of files; "-" is standard output. */
export interface Outputs {
  readonly json: string | undefined;
  readonly output: string | undefined;
}

export const OUTPUT_FLAGS = {
  json: {
    type: "string",
    requiresArg: true,
    describe: "Write the result as JSON into this file; alone or - is standard output",
  },
  output: {
    type: "string",
    alias: "o",
    requiresArg: true,
    describe: "Write the text into this file instead of standard output",
  },
  quiet: { type: "boolean", default: false, describe: "Tell only what is not well" },
} as const;

export function readOutputs(given: Given): Outputs {
  return { json: word("json", given), output: word("output", given) };
}

/**
 * `--json` may stand alone, and is standard output then: `check --json | jq`.
 * @param words whether what comes next is the command's own, as a reference is, unless it is named like a file of JSON.
 */
export function withJsonAlone(args: readonly string[], words: boolean): readonly string[] {
  const end = args.indexOf("--");
  return args.map((arg, at) => {
    if (arg !== "--json" || (end >= 0 && at > end)) return arg;
    const next = args[at + 1];
    const alone = next === undefined || /^(?:-.|https?:\/\/)/.test(next) || (words && !/^-$|\.json$/.test(next));
    return alone ? "--json=-" : arg;
  });
}

/** @throws Failure `invalid` for a flag that was given twice, or without its value. */
export function word(flag: string, given: Given): string | undefined {
  const value = given[flag];
  if (Array.isArray(value)) throw invalid(`--${flag}`, "given more than once");
  if (value === undefined) return undefined;
  if (typeof value === "string" && value !== "") return value;
  throw invalid(`--${flag}`, "a value is missing");
}

export function invalid(what: string, message: string): Failure {
  return new Failure("invalid", `${what}: ${message}`);
}

/** The text of `--ca`: authorities to trust besides the known ones. @throws Failure `invalid` */
export function readCertificate(file: string | undefined): string | undefined {
  if (file === undefined) return undefined;
  try {
    const text = readFileSync(file, "utf8");
    if (text.includes("-----BEGIN CERTIFICATE-----")) return text;
  } catch (error) {
    throw invalid("--ca", messageOf(error));
  }
  throw invalid("--ca", `${file} holds no certificate in PEM form`);
}
