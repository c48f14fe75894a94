/**
 * The commands beside `serve`, one line each: `run.ts` makes the command line of them.
 */
import type { Argv } from "yargs";
import { bench } from "./bench.ts";
import { BENCH_COMMAND, BENCH_SUMMARY, benchFlags } from "./bench-options.ts";
import { check } from "./check.ts";
import { CHECK_COMMAND, CHECK_SUMMARY, checkFlags } from "./check-options.ts";
import { deskFlags, runAtDesk } from "./desk-command.ts";
import { doctor } from "./doctor.ts";
import { DOCTOR_COMMAND, DOCTOR_SUMMARY, doctorFlags } from "./doctor-options.ts";
import type { Given } from "./flags.ts";
import { SCRUB } from "./scrub.ts";
import { describeScrub, SCRUB_COMMAND, SCRUB_SUMMARY } from "./scrub-options.ts";
import { WARM } from "./warm.ts";
import { describeWarm, WARM_COMMAND, WARM_SUMMARY } from "./warm-options.ts";
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

export const COMMANDS: readonly Command[] = [
  { usage: BENCH_COMMAND, summary: BENCH_SUMMARY, flags: benchFlags, run: bench },
  { usage: CHECK_COMMAND, summary: CHECK_SUMMARY, flags: checkFlags, run: check, json: "alone" },
  { usage: DOCTOR_COMMAND, summary: DOCTOR_SUMMARY, flags: doctorFlags, run: doctor, json: "alone" },
  {
    usage: SCRUB_COMMAND,
    summary: SCRUB_SUMMARY,
    flags: (command) => describeScrub(deskFlags(command)),
    run: (given, world) => runAtDesk(SCRUB, given, world),
    json: "alone",
  },
  {
    usage: WARM_COMMAND,
    summary: WARM_SUMMARY,
    flags: (command) => describeWarm(deskFlags(command)),
    run: (given, world) => runAtDesk(WARM, given, world),
    json: "alone before words",
  },
];

export function nameOf({ usage }: Command): string {
  return usage.split(" ", 1)[0] ?? usage;
}
