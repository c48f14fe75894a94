/**
 * Where the mirror's main thread spent its time: the functions with the most time of their own, from the profiles that
 * `--cpu-prof` leaves.
 *
 * Time outside of JavaScript shows as "(program)"; the thread pool's does not show at all.
 */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

interface CpuProfile {
  readonly nodes: readonly {
    readonly id: number;
    readonly callFrame: { readonly functionName: string; readonly url: string; readonly lineNumber: number };
  }[];
  readonly samples: readonly number[];
  readonly timeDeltas: readonly number[];
}

const TOP_FUNCTIONS = 25;
const TOP_FILES = 15;

/** Reads every profile that `dir` has; empty text where there is none. */
export function profileText(dir: string): string {
  const files = readdirSync(dir).filter((name) => name.endsWith(".cpuprofile"));
  return files.map((name) => summary(JSON.parse(readFileSync(join(dir, name), "utf8")) as CpuProfile)).join("\n");
}

function summary(profile: CpuProfile): string {
  const places = new Map<number, { readonly name: string; readonly file: string }>();
  for (const { id, callFrame } of profile.nodes) {
    const file = callFrame.url.split("/").slice(-3).join("/") || "native";
    const name = `${callFrame.functionName || "(anonymous)"} ${file}:${callFrame.lineNumber + 1}`;
    places.set(id, { name: file === "native" ? callFrame.functionName : name, file });
  }
  const functions = new Map<string, number>();
  const files = new Map<string, number>();
  let busy = 0;
  let idle = 0;
  profile.samples.forEach((id, index) => {
    const place = places.get(id);
    const micros = profile.timeDeltas[index] ?? 0;
    if (place === undefined || place.name === "(idle)") {
      idle += micros;
      return;
    }
    busy += micros;
    functions.set(place.name, (functions.get(place.name) ?? 0) + micros);
    files.set(place.file, (files.get(place.file) ?? 0) + micros);
  });
  const top = (times: ReadonlyMap<string, number>, count: number) =>
    [...times]
      .sort(([, a], [, b]) => b - a)
      .slice(0, count)
      .map(([name, micros]) => `${((micros / busy) * 100).toFixed(1).padStart(6)} %  ${name}\n`)
      .join("");
  const head = `main thread: ${(busy / 1e6).toFixed(2)} s busy, ${(idle / 1e6).toFixed(2)} s idle; starting included\n`;
  return `${head}by function\n${top(functions, TOP_FUNCTIONS)}by file\n${top(files, TOP_FILES)}`;
}
