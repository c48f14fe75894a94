/**
 * One command of the command line: its words and flags for yargs, and what it does.
 */
import type { Argv } from "yargs";
import type { Given } from "./flags.ts";
import type { World } from "./world.ts";

export interface Command {
  /** Its name, then its words as yargs writes them: `inspect <ref>`. */
  readonly usage: string;
  /** One line. */
  readonly summary: string;
  /** Flags, examples and exit codes. */
  flags(command: Argv): Argv;
  /** @returns the exit code */
  run(given: Given, world: World): Promise<number>;
  /** Where `--json` may stand without a value: before anything that is no file of JSON. */
  readonly json?: "alone" | "alone before words";
}
