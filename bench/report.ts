/**
 * What was found, as lines while it runs, and as Markdown, JSON and charts at the end; several runs as one.
 */
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type BarredFinding, barsChart, scenarioChart } from "./chart.ts";
import { type Finding, figureText, joinRuns, judge, limitText, spread } from "./figures.ts";
import { type Machine, machineText } from "./machine.ts";
import { joinSamples, MEASURES, type Measure, type Samples, seriesOf } from "./samples.ts";
import type { Trouble } from "./scenario.ts";

export interface ScenarioReport {
  readonly name: string;
  readonly measures: string;
  /** Share of all cores that others used just before. */
  readonly noise: number;
  readonly findings: readonly Finding[];
  readonly samples: Samples;
  /** Why there are not all figures. */
  readonly troubles: readonly Trouble[];
  readonly seconds: number;
}

const RESULTS = join(import.meta.dirname, "results");

/** By scenario: findings at the median of the runs, samples of all of them, each trouble once. */
export function joinReports(runs: readonly (readonly ScenarioReport[])[]): ScenarioReport[] {
  const names = [...new Set(runs.flatMap((reports) => reports.map(({ name }) => name)))];
  return names.flatMap((name) => {
    const same = runs.flatMap((reports) => reports.filter((report) => report.name === name));
    const [first] = same;
    if (first === undefined) return [];
    const whats = [...new Set(same.flatMap(({ findings }) => findings.map(({ what }) => what)))];
    const findings = whats.flatMap(
      (what) => joinRuns(same.flatMap((report) => report.findings.filter((found) => found.what === what))) ?? [],
    );
    const troubles = same.flatMap((report) => report.troubles);
    return {
      name,
      measures: first.measures,
      noise: Math.max(...same.map(({ noise }) => noise)),
      findings,
      samples: joinSamples(same.map(({ samples }) => samples)),
      troubles: troubles.filter(({ message }, index) => troubles.findIndex((one) => one.message === message) === index),
      seconds: same.reduce((sum, { seconds }) => sum + seconds, 0),
    };
  });
}

/** What the exit code says: a must that is missed, or a scenario that has no figures though it could. */
export function hasFailed(reports: readonly ScenarioReport[]): boolean {
  return reports.some(
    ({ findings, troubles }) =>
      findings.some((found) => judge(found) === "MISS") || troubles.some(({ kind }) => kind === "failed"),
  );
}

export function findingLine(scenario: string, finding: Finding): string {
  const { bar } = finding;
  const verdict =
    bar === undefined ? "" : `   must ${limitText(bar, "must")}, aim ${limitText(bar, "aim")}: ${judge(finding)}`;
  return `${scenario}: ${finding.what}: ${figureText(finding)}${verdict}\n`;
}

export function troubleLine(scenario: string, { kind, message }: Trouble): string {
  return `${scenario}: ${kind}: ${message}\n`;
}

/** The bars and what was found, and then each scenario's servers side by side. */
export function markdown(about: Machine, reports: readonly ScenarioReport[], runs: number): string {
  const rows = reports.flatMap(({ name, findings, troubles }) => [
    ...findings.map((found) => [
      name,
      found.what,
      figureText(found),
      limitText(found.bar, "must"),
      limitText(found.bar, "aim"),
      judge(found),
    ]),
    ...troubles.map(({ kind, message }) => [name, firstLine(message), "", "", "", kind]),
  ]);
  const head = machineText(about).trimEnd().split("\n").join("  \n");
  const how = runs === 1 ? "one run" : `medians of ${runs} runs (lowest–highest)`;
  const chapters = reports.flatMap((report) => {
    const table = serverTable(report.samples);
    if (table === "") return [];
    const noise = `machine busy before: ${(report.noise * 100).toFixed(0)} %, took ${report.seconds.toFixed(0)} s`;
    return [`## ${report.name}\n\n${report.measures}; ${noise}\n\n${table}\n![${report.name}](${report.name}.svg)\n`];
  });
  const summary = table(["scenario", "what", "figure", "must", "aim", ""], rows);
  return [
    `# Benchmark, ${about.date.slice(0, 10)}\n\n${head}\n\n${how}\n`,
    `${summary}\n![bars](bars.svg)\n`,
    ...chapters,
  ].join("\n");
}

export function serverTable(samples: Samples): string {
  const measures = (Object.keys(MEASURES) as Measure[]).filter((measure) =>
    [...samples.keys()].some((server) => seriesOf(samples, server, measure).length > 0),
  );
  if (measures.length === 0) return "";
  const rows = [...samples.keys()].map((server) => [
    server,
    ...measures.map((measure) => {
      const series = seriesOf(samples, server, measure);
      return series.length === 0 ? "–" : spread(series, MEASURES[measure].digits);
    }),
  ]);
  return table(["server", ...measures.map((measure) => MEASURES[measure].label)], rows);
}

/** Everything below one directory of results. @returns its path. */
export async function writeResults(
  about: Machine,
  runs: readonly (readonly ScenarioReport[])[],
  results = RESULTS,
): Promise<string> {
  const joined = joinReports(runs);
  const dir = join(results, about.date.replaceAll(":", "-").slice(0, 19));
  await mkdir(dir, { recursive: true });
  const json = { ...about, scenarios: joined, runs };
  // A figure that is missing reads "null" then, which is what it is.
  const plain = (_: string, value: unknown) => (value instanceof Map ? Object.fromEntries(value) : value);
  await writeFile(join(dir, "bench.json"), `${JSON.stringify(json, plain, 2)}\n`);
  await writeFile(join(dir, "bench.md"), markdown(about, joined, runs.length));
  const barred: BarredFinding[] = joined.flatMap(({ name, findings }) =>
    findings.map((finding) => ({ scenario: name, finding })),
  );
  await writeFile(join(dir, "bars.svg"), barsChart("must and aim", barred));
  for (const { name, measures, samples } of joined) {
    const chart = scenarioChart(`${name}: ${measures}`, samples);
    if (chart !== undefined) await writeFile(join(dir, `${name}.svg`), chart);
  }
  return dir;
}

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const lines = [head, head.map(() => "---"), ...rows];
  return lines.map((cells) => `| ${cells.map((cell) => cell.replaceAll("|", "\\|")).join(" | ")} |\n`).join("");
}

/** A program that ended has said why on the line after. */
function firstLine(message: string): string {
  return message.split("\n").slice(0, 2).join(" ").slice(0, 200);
}
