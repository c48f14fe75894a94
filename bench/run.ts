/**
 * Runs the benchmark: `node bench/run.ts [scenario…] [--quick] [--profile]`. See README.md.
 *
 * Everything is on loopback, in one temporary directory, and ends: each scenario has a time limit, a signal stops the
 * run, and whatever was started is stopped. Exits with 1 where a bar was missed or a scenario failed.
 */
import { mkdir, mkdtemp } from "node:fs/promises";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { makeTempDir } from "../test/kit/temp.ts";
import { Library } from "./library.ts";
import { waitForQuiet } from "./noise.ts";
import { Origin } from "./origin.ts";
import { profileText } from "./profile.ts";
import { MissingProgram } from "./programs.ts";
import { Puller } from "./pull.ts";
import {
  describeSurroundings,
  findingLine,
  markdownTable,
  type ScenarioReport,
  surroundingsText,
  writeResults,
} from "./report.ts";
import { Bench, type BenchParts, type Scenario } from "./scenario.ts";
import { coldBlob } from "./scenarios/cold-blob.ts";
import { firstByte } from "./scenarios/first-byte.ts";
import { herd } from "./scenarios/herd.ts";
import { manifest } from "./scenarios/manifest.ts";
import { range } from "./scenarios/range.ts";
import { warmBlob } from "./scenarios/warm-blob.ts";

const SCENARIOS: readonly Scenario[] = [herd, firstByte, range, manifest, warmBlob, coldBlob];
const SCENARIO_TIMEOUT_MS = 240_000;
const QUIET_PATIENCE_MS = 20_000;

async function main(): Promise<number> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: { quick: { type: "boolean", default: false }, profile: { type: "boolean", default: false } },
  });
  const unknown = positionals.filter((name) => SCENARIOS.every((scenario) => scenario.name !== name));
  if (unknown.length > 0) {
    const known = SCENARIOS.map(({ name }) => name).join(" ");
    process.stderr.write(`no such scenario: ${unknown.join(" ")}; there are: ${known}\n`);
    return 2;
  }
  const chosen = SCENARIOS.filter(({ name }) => positionals.length === 0 || positionals.includes(name));

  await using temp = await makeTempDir("bench");
  const about = await describeSurroundings(values);
  say(surroundingsText(about));
  const reports: ScenarioReport[] = [];
  const library = new Library(join(temp.path, "library"));
  await mkdir(library.root);
  await using origin = await Origin.start(temp.path, library);
  say(`upstream: ${origin.kind}; content and caches in ${temp.path}\n\n`);
  for (const scenario of chosen) {
    if (signalled.signal.aborted) break;
    await using puller = new Puller();
    const profileDir = values.profile ? await mkdtemp(join(temp.path, "profile-")) : undefined;
    reports.push(
      await runScenario(scenario, { dir: temp.path, quick: values.quick, library, origin, puller, profileDir }),
    );
    if (profileDir !== undefined) say(`\n${scenario.name}: ${profileText(profileDir)}\n`);
  }
  say(`\n${markdownTable(reports)}\n`);
  say(`${await writeResults(about, reports)}\n`);
  const missed = reports.some(({ findings }) => findings.some(({ bar }) => bar?.held === false));
  return missed || reports.some(({ trouble }) => trouble?.kind === "failed") ? 1 : 0;
}

async function runScenario(scenario: Scenario, parts: BenchParts): Promise<ScenarioReport> {
  const { name, measures } = scenario;
  const limit = AbortSignal.any([signalled.signal, AbortSignal.timeout(SCENARIO_TIMEOUT_MS)]);
  const noise = await waitForQuiet(QUIET_PATIENCE_MS, limit).catch(() => Number.NaN);
  say(`${name}: ${measures} (machine busy before: ${(noise * 100).toFixed(0)} %)\n`);
  const startedAt = performance.now();
  await using bench = new Bench(name, parts, (finding) => say(findingLine(name, finding)));
  let trouble: ScenarioReport["trouble"];
  try {
    // What runs on after the limit fails by itself, as soon as its servers and its client are gone.
    await Promise.race([scenario.run(bench), ended(limit)]);
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    trouble = { kind: error instanceof MissingProgram ? "missing" : "failed", message };
    say(`${name.padEnd(11)} ${trouble.kind}: ${message}\n`);
  }
  const seconds = (performance.now() - startedAt) / 1000;
  return { name, measures, noise, findings: bench.findings, ...(trouble === undefined ? {} : { trouble }), seconds };
}

function ended(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    if (signal.aborted) reject(signal.reason);
    signal.addEventListener("abort", () => reject(signal.reason), { once: true });
  });
}

function say(text: string): void {
  process.stdout.write(text);
}

const signalled = new AbortController();
for (const signal of ["SIGINT", "SIGTERM"] as const) {
  process.once(signal, () => signalled.abort(new Error(`stopped by ${signal}`)));
}

try {
  process.exitCode = await main();
} catch (error) {
  if (!(error instanceof MissingProgram)) throw error;
  process.stderr.write(`nothing to be the upstream: docker-registry is not installed, and ${error.message}\n`);
  process.exitCode = 1;
}
// A scenario that was given up may still hold something.
setTimeout(() => process.exit(), 1000).unref();
