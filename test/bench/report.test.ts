/** What a run leaves behind, and what its exit code says. */
import assert from "node:assert/strict";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { atMost, finding } from "../../bench/figures.ts";
import type { Machine } from "../../bench/machine.ts";
import { hasFailed, joinReports, markdown, type ScenarioReport, writeResults } from "../../bench/report.ts";
import type { Trouble } from "../../bench/scenario.ts";
import { makeTempDir } from "../kit/temp.ts";

const MACHINE: Machine = {
  date: "2026-11-21T10:00:00.000Z",
  machine: "A processor",
  cores: 2,
  memoryBytes: 2 ** 33,
  kernel: "Linux 6 x64",
  sha256BytesPerSecond: 1e9,
  versions: { nginx: "1.22.1", other: "missing" },
  peers: { other: "another mirror (missing)" },
  options: {},
};

function report(value: number, troubles: readonly Trouble[] = []): ScenarioReport {
  const findings = [finding("ratio", [value], { bar: atMost(1, 0.5) })];
  const samples = new Map([["mirror", [{ wallSeconds: value }]]]);
  return { name: "cold", measures: "a | b", noise: 0.1, findings, samples, troubles, seconds: 1 };
}

test("a must that is missed in one run of three is not missed by their median", () => {
  const runs = [[report(0.9)], [report(3)], [report(0.4)]];
  const [joined] = joinReports(runs);
  assert.ok(joined !== undefined);
  assert.equal(joined.findings[0]?.value, 0.9);
  assert.equal(joined.samples.get("mirror")?.length, 3);
  assert.equal(hasFailed([joined]), false);
  assert.equal(hasFailed(joinReports([[report(0.9)], [report(3)], [report(1.1)]])), true);
});

test("a scenario that failed in any run fails; what is missing, not ranked or skipped does not", () => {
  const kinds = ["missing", "not ranked", "skipped", "failed"] as const;
  const failed = kinds.map((kind) => hasFailed(joinReports([[report(1)], [report(1, [{ kind, message: "m" }])]])));
  assert.deepEqual(failed, [false, false, false, true]);
});

test("the same trouble of several runs is told once", () => {
  const trouble = { kind: "missing", message: "nginx is not installed" } as const;
  assert.equal(joinReports([[report(1, [trouble])], [report(1, [trouble])]])[0]?.troubles.length, 1);
});

test("the table shows figure, must, aim, verdict and troubles, and the head machine and versions", () => {
  const text = markdown(MACHINE, [report(0.4, [{ kind: "missing", message: "x | y\nmore" }])], 3);
  assert.match(text, /A processor, 2 cores, 8 GiB/);
  assert.match(text, /nginx 1\.22\.1, other missing/);
  assert.match(text, /peer other: another mirror \(missing\)/);
  assert.match(text, /medians of 3 runs/);
  assert.match(text, /\| cold \| ratio \| 0\.40 \| ≤ 1 \| ≤ 0\.5 \| aim reached \|/);
  assert.match(text, /\| cold \| x \\\| y more \| {2}\| {2}\| {2}\| missing \|/);
});

test("results are Markdown, JSON with every run, and charts", async () => {
  await using temp = await makeTempDir();
  const dir = await writeResults(MACHINE, [[report(0.4)], [report(Number.NaN)]], temp.path);
  assert.deepEqual((await readdir(dir)).sort(), ["bars.svg", "bench.json", "bench.md", "cold.svg"]);
  const json: unknown = JSON.parse(await readFile(join(dir, "bench.json"), "utf8"));
  assert.ok(typeof json === "object" && json !== null && "runs" in json && Array.isArray(json.runs));
  assert.equal(json.runs.length, 2);
});
