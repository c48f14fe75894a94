/**
 * What was found, as lines while it runs, as a Markdown table at the end, and as JSON to compare with another day.
 */
import { createHash } from "node:crypto";
import { mkdir, writeFile } from "node:fs/promises";
import { arch, availableParallelism, cpus, release, totalmem, type } from "node:os";
import { join } from "node:path";
import { attempt } from "../test/e2e/processes.ts";
import { findProgram } from "./programs.ts";
import type { Finding } from "./scenario.ts";

export interface ScenarioReport {
  readonly name: string;
  readonly measures: string;
  /** Share of all cores that others used just before. */
  readonly noise: number;
  readonly findings: readonly Finding[];
  /** Why there are not all figures. */
  readonly trouble?: { readonly kind: "missing" | "failed"; readonly message: string };
  readonly seconds: number;
}

export interface Surroundings {
  readonly date: string;
  readonly machine: string;
  readonly cores: number;
  readonly memoryBytes: number;
  readonly kernel: string;
  /** Every miss is hashed, and processors with instructions for it are seven times as fast as those without. */
  readonly sha256BytesPerSecond: number;
  readonly versions: Readonly<Record<string, string>>;
  readonly options: Readonly<Record<string, string | boolean>>;
}

const VERSION_FLAGS = { nginx: "-v", "docker-registry": "--version", wrk: "-v" } as const;
const RESULTS = join(import.meta.dirname, "results");

export async function describeSurroundings(options: Surroundings["options"]): Promise<Surroundings> {
  const versions: Record<string, string> = { node: process.version };
  for (const [program, flag] of Object.entries(VERSION_FLAGS) as [keyof typeof VERSION_FLAGS, string][]) {
    const path = findProgram(program);
    if (path === undefined) {
      versions[program] = "missing";
      continue;
    }
    const { stdout, stderr } = await attempt(path, [flag], { timeoutMs: 5_000 });
    const said = `${stdout} ${stderr}`;
    versions[program] = /\d+\.\d+(?:\.\d+)?(?:[+-][\w.+]+)?/.exec(said)?.[0] ?? said.trim().slice(0, 40);
  }
  const git = await attempt("git", ["-C", import.meta.dirname, "describe", "--always", "--dirty"], { timeoutMs: 5_000 })
    .then(({ stdout }) => stdout.trim())
    .catch(() => "");
  versions["wharfinger"] = git === "" ? "unknown" : git;
  return {
    date: new Date().toISOString(),
    machine: cpus()[0]?.model ?? "unknown",
    cores: availableParallelism(),
    memoryBytes: totalmem(),
    kernel: `${type()} ${release()} ${arch()}`,
    sha256BytesPerSecond: measureHash(),
    versions,
    options,
  };
}

export function findingLine(scenario: string, finding: Finding): string {
  const bar = finding.bar === undefined ? "" : `   bar ${finding.bar.text}: ${verdictOf(finding)}`;
  return `${scenario.padEnd(11)} ${finding.what}: ${finding.text}${bar}\n`;
}

export function markdownTable(reports: readonly ScenarioReport[]): string {
  const rows = reports.flatMap(({ name, findings, trouble }) => [
    ...findings.map((found) => [name, found.what, found.text, found.bar?.text ?? "–", verdictOf(found)]),
    ...(trouble === undefined ? [] : [[name, trouble.message.split("\n", 1)[0] ?? "", "", "", trouble.kind]]),
  ]);
  const lines = [["scenario", "what", "figure", "bar", ""], ["---", "---", "---", "---", "---"], ...rows];
  return lines.map((cells) => `| ${cells.join(" | ")} |\n`).join("");
}

export function surroundingsText(about: Surroundings): string {
  const versions = Object.entries(about.versions).map(([name, version]) => `${name} ${version}`);
  const memory = `${Math.round(about.memoryBytes / 2 ** 30)} GiB`;
  return `${about.machine}, ${about.cores} cores, ${memory}; ${about.kernel}; ${versions.join(", ")}; SHA-256 ${(about.sha256BytesPerSecond / 1e9).toFixed(2)} GB/s\n`;
}

/** @returns the file's path. */
export async function writeResults(about: Surroundings, reports: readonly ScenarioReport[]): Promise<string> {
  await mkdir(RESULTS, { recursive: true });
  const file = join(RESULTS, `${about.date.replaceAll(":", "-").slice(0, 19)}.json`);
  await writeFile(file, `${JSON.stringify({ ...about, scenarios: reports }, undefined, 2)}\n`);
  return file;
}

function measureHash(): number {
  const block = Buffer.alloc(1024 * 1024, 1);
  const hash = createHash("sha256");
  const startedAt = performance.now();
  let bytes = 0;
  for (; performance.now() - startedAt < 300; bytes += block.length) hash.update(block);
  return (bytes * 1000) / (performance.now() - startedAt);
}

function verdictOf({ bar }: Finding): string {
  if (bar === undefined) return "";
  return bar.held ? "pass" : "MISS";
}
