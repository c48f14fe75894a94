/**
 * How `--help` looks: as wide as the terminal, what is the command's own before the settings that many have.
 */
import type { Argv } from "yargs";
import type { Output } from "./world.ts";

const WIDEST = 110;
/** Of a terminal that does not say, and of what is no terminal. */
const USUAL = 80;
const NARROWEST = 60;

export const SETTINGS_GROUP = "Settings (as in serve):";

export function helpWidth({ isTTY, columns }: Pick<Output, "isTTY" | "columns">): number {
  const own = isTTY === true && columns !== undefined && columns > 0 ? columns : USUAL;
  return Math.max(NARROWEST, Math.min(own, WIDEST));
}

/** Groups are shown in the order in which they were first named; those that stay empty are not. */
export function ownFlagsFirst(command: Argv): Argv {
  for (const group of ["Positionals:", "Options:"]) command.group([], group);
  return command;
}

/** Side by side, a command and what it does would both be broken over several lines, and nobody could copy it. */
export function examplesBelow<T>(command: Argv<T>): Argv<T> {
  const example = command.example.bind(command);
  return Object.assign(command, { example: (line: string, says: string) => example(`# ${says}\n${line}`, "") });
}
