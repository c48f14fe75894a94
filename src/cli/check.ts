/**
 * `wharfinger check`: what the configuration says, whether it can be used, and what each upstream answers to it.
 *
 * Everything is opened as `serve` would open it, so that what passes here starts there. Asks all upstreams at once; fetches
 * and stores nothing. Secrets are never told.
 */
import { isFailure } from "../base/failure.ts";
import { ConfigFaults, faultText } from "../config/faults.ts";
import type { Config } from "../config/schema.ts";
import { type CheckRequest, readCheck } from "./check-options.ts";
import { type CheckReport, checkText } from "./check-text.ts";
import { EXIT, errorText, exitCodeOf } from "./exit.ts";
import type { Given } from "./flags.ts";
import { writeDocuments } from "./output.ts";
import type { World } from "./world.ts";

/** @returns the exit code */
export async function check(given: Given, world: World): Promise<number> {
  let request: CheckRequest;
  let config: Config;
  try {
    request = readCheck(given);
    const { loadConfig } = await import("../config/load.ts");
    config = loadConfig({ file: request.file, env: world.env });
  } catch (error) {
    if (error instanceof ConfigFaults) {
      for (const fault of error.faults) world.stderr.write(`${faultText(fault)}\n`);
      return EXIT.badUsage;
    }
    const hint = isFailure(error, "invalid") ? "\nwharfinger check --help says what can be given" : "";
    return failed(error, world, hint);
  }
  try {
    return await report(request, config, world);
  } catch (error) {
    return failed(error, world);
  }
}

async function report(request: CheckRequest, config: Config, world: World): Promise<number> {
  const { openSubjects, askSubjects } = await import("./check-subjects.ts");
  const { subjects, faults, close } = await openSubjects(config, request.upstream, world.env);
  try {
    for (const fault of faults) world.stderr.write(`wharfinger: ${fault}\n`);
    if (faults.length > 0) return EXIT.badUsage;
    const offline = request.offline || config.offline;
    const upstreams = offline
      ? subjects.map(({ name }) => ({ upstream: name, result: "ok" as const }))
      : await askSubjects(subjects, request.image, world.env);
    const results = new Set(upstreams.map((one) => one.result));
    const result = (["unreachable", "limited", "refused"] as const).find((one) => results.has(one)) ?? "ok";
    const told: CheckReport = { format: "wharfinger-check/1", version: world.version, result, offline, upstreams };
    writeDocuments(request, { text: checkText(told, request.quiet), json: told }, world);
    if (result === "ok") return EXIT.done;
    return result === "refused" ? EXIT.refused : EXIT.failed;
  } finally {
    await close();
  }
}

function failed(error: unknown, world: World, hint = ""): number {
  world.stderr.write(`wharfinger: ${errorText(error)}${hint}\n`);
  return isFailure(error) ? exitCodeOf(error) : EXIT.failed;
}
