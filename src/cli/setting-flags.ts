/**
 * The settings as flags, for every command that reads the configuration: made from the schema, read by the loader.
 */
import type { Argv } from "yargs";
import { type Leaf, listLeaves } from "../config/leaves.ts";
import type { Given } from "./flags.ts";
import { SETTINGS_GROUP } from "./help.ts";

/** @param except flags that are the command's own */
export function listSettings(except: ReadonlySet<string> = new Set()): readonly Leaf[] {
  return listLeaves().filter(({ flag }) => !except.has(flag));
}

export function settingFlags<T>(command: Argv<T>, leaves: readonly Leaf[], group = SETTINGS_GROUP): Argv<T> {
  for (const leaf of leaves) {
    const choices = leaf.choices === undefined ? "" : ` (${leaf.choices.join(", ")})`;
    command.option(leaf.flag, {
      // A string stays what was typed: the loader reads it as it reads the environment.
      ...(leaf.boolean ? {} : { type: "string", requiresArg: true }),
      describe: `${leaf.doc}${choices}`,
      defaultDescription: leaf.default === null ? "none" : String(leaf.default),
      group,
    });
  }
  return command;
}

/** By flag, as the loader takes them. */
export function readSettings(given: Given, leaves: readonly Leaf[]): Readonly<Record<string, unknown>> {
  return Object.fromEntries(leaves.map(({ flag }) => [flag, given[flag]]));
}
