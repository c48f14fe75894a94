/**
 * The commands beside `serve`, one line each: `run.ts` makes the command line of them.
 */
import { bench } from "./bench.ts";
import { BENCH_COMMAND, BENCH_SUMMARY, benchFlags } from "./bench-options.ts";
import { check } from "./check.ts";
import { CHECK_COMMAND, CHECK_SUMMARY, checkFlags } from "./check-options.ts";
import type { Command } from "./command.ts";
import { deskFlags, runAtDesk } from "./desk-command.ts";
import { doctor } from "./doctor.ts";
import { DOCTOR_COMMAND, DOCTOR_SUMMARY, doctorFlags } from "./doctor-options.ts";
import { describeExport, EXPORT_COMMAND, EXPORT_SUMMARY } from "./export-options.ts";
import { describeImport, IMPORT_COMMAND, IMPORT_SUMMARY } from "./import-options.ts";
import { inspectCommand } from "./inspect.ts";
import { lsCommand } from "./ls.ts";
import { pinCommand } from "./pin.ts";
import { purgeCommand } from "./purge.ts";
import { SCRUB } from "./scrub.ts";
import { describeScrub, SCRUB_COMMAND, SCRUB_SUMMARY } from "./scrub-options.ts";
import { unpinCommand } from "./unpin.ts";
import { WARM } from "./warm.ts";
import { describeWarm, WARM_COMMAND, WARM_SUMMARY } from "./warm-options.ts";

export const COMMANDS: readonly Command[] = [
  lsCommand,
  inspectCommand,
  pinCommand,
  unpinCommand,
  purgeCommand,
  { usage: BENCH_COMMAND, summary: BENCH_SUMMARY, flags: benchFlags, run: bench },
  { usage: CHECK_COMMAND, summary: CHECK_SUMMARY, flags: checkFlags, run: check, json: "alone" },
  { usage: DOCTOR_COMMAND, summary: DOCTOR_SUMMARY, flags: doctorFlags, run: doctor, json: "alone" },
  {
    usage: SCRUB_COMMAND,
    summary: SCRUB_SUMMARY,
    flags: (command) => describeScrub(deskFlags(command)),
    run: (given, world) => runAtDesk(SCRUB, given, world),
    json: "alone before words",
  },
  {
    usage: WARM_COMMAND,
    summary: WARM_SUMMARY,
    flags: (command) => describeWarm(deskFlags(command)),
    run: (given, world) => runAtDesk(WARM, given, world),
    json: "alone before words",
  },
  {
    usage: EXPORT_COMMAND,
    summary: EXPORT_SUMMARY,
    flags: (command) => describeExport(deskFlags(command)),
    // What writes and reads bundles is loaded by whoever wants one.
    run: async (given, world) => runAtDesk((await import("./export.ts")).EXPORT, given, world),
    json: "alone before words",
  },
  {
    usage: IMPORT_COMMAND,
    summary: IMPORT_SUMMARY,
    flags: (command) => describeImport(deskFlags(command)),
    run: async (given, world) => runAtDesk((await import("./import.ts")).IMPORT, given, world),
    json: "alone before words",
  },
];

export function nameOf({ usage }: Command): string {
  return usage.split(" ", 1)[0] ?? usage;
}
