/**
 * Runs the benchmark: `node bench/run.ts [scenario…] [--quick] [--runs N] [--peer FILE]… [--profile]`. See README.md.
 *
 * Everything is on loopback, in one temporary directory, and ends: each scenario has a time limit, a signal stops the
 * run, and whatever was started is stopped. Exits with 1 where a must was missed or a scenario failed, with 2 where it
 * was asked for something that there is not.
 */
import { mkdir, mkdtemp } from "node:fs/promises";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { makeTempDir } from "../test/kit/temp.ts";
import { Library } from "./library.ts";
import { describeMachine, machineText } from "./machine.ts";
import { waitForQuiet } from "./noise.ts";
import { Origin } from "./origin.ts";
import { readPeer } from "./peerfile.ts";
import { profileText } from "./profile.ts";
import { MissingProgram } from "./programs.ts";
import {
  findingLine,
  hasFailed,
  joinReports,
  markdown,
  type ScenarioReport,
  troubleLine,
  writeResults,
} from "./report.ts";
import { Bench, type BenchParts, type Scenario, troubleOf } from "./scenario.ts";
import { coldBlob } from "./scenarios/cold-blob.ts";
import { crash } from "./scenarios/crash.ts";
import { dayTrace } from "./scenarios/day-trace.ts";
import { farOrigin } from "./scenarios/far-origin.ts";
import { firstByte } from "./scenarios/first-byte.ts";
import { fullDisk } from "./scenarios/full-disk.ts";
import { herd } from "./scenarios/herd.ts";
import { hubDay } from "./scenarios/hub-day.ts";
import { hugeBlob } from "./scenarios/huge-blob.ts";
import { manifest } from "./scenarios/manifest.ts";
import { million } from "./scenarios/million.ts";
import { outage } from "./scenarios/outage.ts";
import { range } from "./scenarios/range.ts";
import { revival } from "./scenarios/revival.ts";
import { slowReaders } from "./scenarios/slow-readers.ts";
import { tail } from "./scenarios/tail.ts";
import { warmBlob, warmBlobPortable } from "./scenarios/warm-blob.ts";
import { warmBlobTls } from "./scenarios/warm-blob-tls.ts";
import { workers } from "./scenarios/workers.ts";

const SCENARIOS: readonly Scenario[] = [
  herd,
  firstByte,
  range,
  outage,
  hubDay,
  dayTrace,
  million,
  manifest,
  warmBlob,
  warmBlobPortable,
  warmBlobTls,
  coldBlob,
  farOrigin,
  tail,
  workers,
  revival,
  fullDisk,
  slowReaders,
  hugeBlob,
  crash,
];
const SCENARIO_TIMEOUT_MS = 240_000;
const QUIET_PATIENCE_MS = { quick: 3_000, full: 15_000 };
const MAX_RUNS = 20;

async function main(): Promise<number> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      quick: { type: "boolean", default: false },
      profile: { type: "boolean", default: false },
      runs: { type: "string", default: "1" },
      peer: { type: "string", multiple: true, default: [] },
    },
  });
  const unknown = positionals.filter((name) => SCENARIOS.every((scenario) => scenario.name !== name));
  if (unknown.length > 0) {
    const known = SCENARIOS.map(({ name }) => name).join(" ");
    return refuse(`no such scenario: ${unknown.join(" ")}; there are: ${known}`);
  }
  const runCount = Number(values.runs);
  if (!Number.isInteger(runCount) || runCount < 1 || runCount > MAX_RUNS) {
    return refuse(`--runs must be a number from 1 to ${MAX_RUNS}, not ${values.runs}`);
  }
  const peers = await Promise.all(values.peer.map(readPeer)).catch((error: unknown) => String(error));
  if (typeof peers === "string") return refuse(peers);
  if (new Set(peers.map(({ name }) => name)).size < peers.length) return refuse("two peers have one name");
  const chosen = SCENARIOS.filter(({ name }) => positionals.length === 0 || positionals.includes(name));

  await using temp = await makeTempDir("bench");
  const about = await describeMachine(values, peers);
  say(machineText(about));
  const library = new Library(join(temp.path, "library"));
  await mkdir(library.root);
  await using origin = await Origin.start(temp.path, library);
  say(`upstream: ${origin.kind}; content and caches in ${temp.path}\n`);
  const runs: ScenarioReport[][] = [];
  for (let run = 1; run <= runCount && !signalled.signal.aborted; run += 1) {
    if (runCount > 1) say(`\nrun ${run} of ${runCount}\n`);
    const reports: ScenarioReport[] = [];
    runs.push(reports);
    for (const scenario of chosen) {
      if (signalled.signal.aborted) break;
      const profileDir = values.profile ? await mkdtemp(join(temp.path, "profile-")) : undefined;
      // A directory of its own, gone when it is over: caches of every scenario at once need not fit.
      await using dir = await makeTempDir(`bench-${scenario.name}`);
      const parts = { dir: dir.path, quick: values.quick, library, origin, peers, profileDir };
      reports.push(await runScenario(scenario, parts));
      if (profileDir !== undefined) say(`\n${scenario.name}: ${profileText(profileDir)}\n`);
    }
  }
  const joined = joinReports(runs);
  say(`\n${markdown(about, joined, runs.length)}\n`);
  say(`${await writeResults(about, runs)}\n`);
  return hasFailed(joined) ? 1 : 0;
}

async function runScenario(scenario: Scenario, parts: BenchParts): Promise<ScenarioReport> {
  const { name, measures } = scenario;
  const limit = AbortSignal.any([signalled.signal, AbortSignal.timeout(scenario.timeoutMs ?? SCENARIO_TIMEOUT_MS)]);
  const patienceMs = parts.quick ? QUIET_PATIENCE_MS.quick : QUIET_PATIENCE_MS.full;
  const noise = await waitForQuiet(patienceMs, limit).catch(() => Number.NaN);
  say(`\n${name}: ${measures} (machine busy before: ${(noise * 100).toFixed(0)} %)\n`);
  const startedAt = performance.now();
  await using bench = new Bench(
    name,
    parts,
    (finding) => say(findingLine(name, finding)),
    (trouble) => say(troubleLine(name, trouble)),
  );
  try {
    // What runs on after the limit fails by itself, as soon as its servers and its client are gone.
    await Promise.race([scenario.run(bench), ended(limit)]);
  } catch (error) {
    const { kind, message } = troubleOf(error);
    bench.trouble(kind, message);
  }
  const { findings, samples, troubles } = bench;
  return { name, measures, noise, findings, samples, troubles, seconds: (performance.now() - startedAt) / 1000 };
}

function ended(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    if (signal.aborted) reject(signal.reason);
    signal.addEventListener("abort", () => reject(signal.reason), { once: true });
  });
}

function refuse(why: string): number {
  process.stderr.write(`${why}\n`);
  return 2;
}

function say(text: string): void {
  process.stdout.write(text);
}

const signalled = new AbortController();
for (const signal of ["SIGINT", "SIGTERM"] as const) {
  // More than once: timeout(1) sends it to the process and then to its group, and the second must not end the cleaning up.
  process.on(signal, () => signalled.abort(new Error(`stopped by ${signal}`)));
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
