/**
 * A daemon's configuration in TOML. What is no TOML is not guessed at: the daemon would not read it either, so the place of
 * its fault is what there is to tell.
 */
import { parse, TomlError } from "smol-toml";
import type { FoundFile } from "./files.ts";
import { type Finding, fail } from "./finding.ts";

const MAX_DEPTH = 100;

export type TomlRead =
  | { readonly value: object; readonly fault?: undefined }
  /** `:3 is no TOML: …`, to follow the file's name. */
  | { readonly value?: undefined; readonly fault: string };

export function readToml(text: string): TomlRead {
  try {
    return { value: parse(text.replace(/^\uFEFF/, ""), { maxDepth: MAX_DEPTH }) };
  } catch (error) {
    if (!(error instanceof TomlError)) throw error;
    // Its message goes on with the lines around the fault.
    const why = (error.message.split("\n")[0] ?? "").replace(/^Invalid TOML document: /, "");
    return { fault: `:${error.line} is no TOML: ${why}` };
  }
}

/** The finding of a file that is none, where one is. */
export function judgeToml(check: string, { path, text }: FoundFile): readonly Finding[] {
  const { fault } = readToml(text);
  return fault === undefined ? [] : [fail(check, `${path}${fault}`, "nothing in it counts before that is mended")];
}
