/**
 * `wharfinger check`: what the configuration says, whether it can be used, and what each upstream answers to it.
 *
 * Everything is opened as `serve` would open it, so that what passes here starts there. Asks all upstreams at once; fetches
 * and stores nothing. Secrets are never told.
 */
import { readFileSync } from "node:fs";
import { isFailure } from "../base/failure.ts";
import { ConfigFaults, faultText } from "../config/faults.ts";
import type { Config } from "../config/schema.ts";
import type { ProbeResult } from "../upstream/probe/result.ts";
import { type CheckRequest, readCheck } from "./check-options.ts";
import { type CheckFault, type CheckReport, checkText } from "./check-text.ts";
import { EXIT, errorText, exitCodeOf } from "./exit.ts";
import type { Given } from "./flags.ts";
import { writeDocuments, writeTo } from "./output.ts";
import type { World } from "./world.ts";

/** @returns the exit code */
export async function check(given: Given, world: World): Promise<number> {
  let request: CheckRequest;
  try {
    request = readCheck(given);
  } catch (error) {
    const hint = isFailure(error, "invalid") ? "\nwharfinger check --help says what can be given" : "";
    return failed(error, world, hint);
  }
  try {
    const { loadConfig } = await import("../config/load.ts");
    const config = loadConfig({ file: request.file, env: world.env, flags: request.flags });
    return await report(request, config, world);
  } catch (error) {
    if (error instanceof ConfigFaults) {
      for (const fault of error.faults) world.stderr.write(`${faultText(fault)}\n`);
      tellFaults(request, "invalid", error.faults, world);
      return EXIT.badUsage;
    }
    if (isFailure(error, "unknown")) tellFaults(request, "unknown", [{ message: error.message }], world);
    return failed(error, world);
  }
}

async function report(request: CheckRequest, config: Config, world: World): Promise<number> {
  const { openSubjects, askSubjects } = await import("./check-subjects.ts");
  const { worst } = await import("../upstream/probe/result.ts");
  const { subjects, faults, close } = await openSubjects(config, request.upstream, world.env);
  try {
    for (const fault of faults) world.stderr.write(`wharfinger: ${fault}\n`);
    if (faults.length > 0) {
      const told = faults.map((message) => ({ message }));
      tellFaults(request, "invalid", told, world);
      return EXIT.badUsage;
    }
    const offline = request.offline || config.offline;
    const upstreams = offline
      ? subjects.map(({ name, missing }) => ({
          upstream: name,
          result: missing.length > 0 ? ("unusable" as const) : ("ok" as const),
          problems: missing,
        }))
      : await askSubjects(subjects, request.image, world.env);
    const result = worst(upstreams.map((one) => one.result));
    const told: CheckReport = { ...frameOf(request, world), result, offline, upstreams };
    const text = checkText(told, request.quiet, sourceText(request.file));
    writeDocuments(request, { text, json: told }, world);
    return EXITS[result];
  } finally {
    await close();
  }
}

const EXITS: Readonly<Record<ProbeResult, number>> = {
  ok: EXIT.done,
  degraded: EXIT.failed,
  limited: EXIT.failed,
  unreachable: EXIT.failed,
  unusable: EXIT.failed,
  refused: EXIT.refused,
};

function frameOf({ file }: CheckRequest, { version }: World) {
  return { format: "wharfinger-check/1", version, config: file ?? null } as const;
}

/** As JSON, where that was asked for; people read them on standard error. */
function tellFaults(
  request: CheckRequest,
  result: "invalid" | "unknown",
  found: readonly CheckFault[],
  world: World,
): void {
  const faults = found.map(({ path, file, line, message }) => ({ path, file, line, message }));
  const told: CheckReport = { ...frameOf(request, world), result, offline: true, faults, upstreams: [] };
  const text = `${JSON.stringify(told, undefined, 2)}\n`;
  if (request.json === "-") world.stdout.write(text);
  else writeTo(request.json, text);
}

/** What was read, for whoever wonders why it says other than expected. */
function sourceText(file: string | undefined): string {
  if (file === undefined) return "no --config: the built-in defaults";
  const says = readFileSync(file, "utf8")
    .split("\n")
    .some((line) => !/^\s*(?:#.*)?$/.test(line.replace(/^\uFEFF/, "")));
  return says ? `as in ${file}` : `${file} is empty: the built-in defaults`;
}

function failed(error: unknown, world: World, hint = ""): number {
  world.stderr.write(`wharfinger: ${errorText(error)}${hint}\n`);
  return isFailure(error) ? exitCodeOf(error) : EXIT.failed;
}
