/**
 * What commands at the desk have in common: the configuration they are given, where their results go, and how they fail.
 */
import type { Argv } from "yargs";
import { isFailure } from "../base/failure.ts";
import { ConfigFaults, faultText } from "../config/faults.ts";
import type { Desk } from "./desk.ts";
import { openDesk } from "./desk-open.ts";
import { EXIT, errorText, exitCodeOf } from "./exit.ts";
import { type Given, OUTPUT_FLAGS, type Outputs, readOutputs, word } from "./flags.ts";
import { writeDocuments } from "./output.ts";
import { listSettings, readSettings, settingFlags } from "./setting-flags.ts";
import type { World } from "./world.ts";

/** A command that asks a desk: its words and flags, how they are read, and what it does. */
export interface DeskCommand<Request> {
  readonly name: string;
  /** `look` where only what is stored is wanted. */
  readonly use: "look" | "work";
  /** @throws Failure `invalid` */
  read(given: Given): Request;
  /** @returns the exit code */
  run(request: Request, at: AtDesk): Promise<number>;
}

export interface AtDesk {
  readonly desk: Desk;
  readonly world: World;
  readonly quiet: boolean;
  /** Writes the result where it was asked for: text, or JSON. Without `--json`, quiet text is "". */
  write(documents: { readonly text: string; readonly json: object }): void;
}

/** `--config`, every setting as in `serve`, `--json`, `--output`, `--quiet`. @param own flags of the command's own */
export function deskFlags(command: Argv, own: readonly string[] = []): Argv {
  const described = command.options({
    config: { type: "string", requiresArg: true, describe: "Configuration file (YAML)" },
    ...OUTPUT_FLAGS,
  });
  return settingFlags(described, settings(own));
}

function settings(own: readonly string[]) {
  return listSettings(new Set(["config", ...Object.keys(OUTPUT_FLAGS), ...own]));
}

/** @returns the exit code */
export async function runAtDesk<Request>(
  command: DeskCommand<Request>,
  given: Given,
  world: World,
  own: readonly string[] = [],
): Promise<number> {
  let request: Request;
  let outputs: Outputs;
  let file: string | undefined;
  try {
    outputs = readOutputs(given);
    file = word("config", given);
    request = command.read(given);
  } catch (error) {
    const hint = isFailure(error, "invalid") ? `\nwharfinger ${command.name} --help says what can be given` : "";
    return failed(error, world, hint);
  }
  const quiet = given["quiet"] === true;
  const write: AtDesk["write"] = (documents) => writeDocuments(outputs, documents, world);
  try {
    const { loadConfig } = await import("../config/load.ts");
    const config = loadConfig({ file, env: world.env, flags: readSettings(given, settings(own)) });
    const desk = await openDesk(config, world, command.use);
    try {
      return await command.run(request, { desk, world, quiet, write });
    } finally {
      await desk.close();
    }
  } catch (error) {
    if (!(error instanceof ConfigFaults)) return failed(error, world);
    for (const fault of error.faults) world.stderr.write(`${faultText(fault)}\n`);
    return EXIT.badUsage;
  }
}

function failed(error: unknown, world: World, hint = ""): number {
  world.stderr.write(`wharfinger: ${errorText(error)}${hint}\n`);
  return isFailure(error) ? exitCodeOf(error) : EXIT.failed;
}
