/**
 * What a process and everything it started have cost, as the kernel counts: a service may be several processes.
 *
 * A child that ended counts where its parent waited for it (`cutime`, `cstime`); one that ended and was not yet waited
 * for is still listed, and counts by itself. What a child that was detached to another parent costs is lost.
 */
import { readdirSync, readFileSync, writeFileSync } from "node:fs";

export interface ProcessStat {
  readonly pid: number;
  readonly parent: number;
  /** Own time and that of children that were waited for. */
  readonly cpuTicks: number;
}

/** `getconf CLK_TCK` is 100 on every Linux that Node runs on. */
export const TICKS_PER_SECOND = 100;

/** Reads a line of `/proc/<pid>/stat`; undefined where it is not one. */
export function parseStat(line: string): ProcessStat | undefined {
  // The name in parentheses may contain anything, parentheses too; what follows starts with field 3.
  const close = line.lastIndexOf(")");
  const pid = Number.parseInt(line, 10);
  const fields = line
    .slice(close + 2)
    .split(" ")
    .map(Number);
  const [, parent] = fields;
  const ticks = fields.slice(11, 15);
  if (close < 0 || parent === undefined || ticks.length < 4 || ![pid, parent, ...ticks].every(Number.isInteger)) {
    return undefined;
  }
  return { pid, parent, cpuTicks: ticks.reduce((sum, count) => sum + count, 0) };
}

/** The process and its descendants; empty where it is not there. */
export function treeOf(root: number, all: readonly ProcessStat[]): ProcessStat[] {
  const found = all.filter(({ pid }) => pid === root);
  for (const member of found) found.push(...all.filter(({ parent, pid }) => parent === member.pid && pid !== root));
  return found;
}

export function readTree(root: number): ProcessStat[] {
  const stats = readdirSync("/proc").flatMap((name) => {
    if (!/^\d+$/.test(name)) return [];
    return readIfThere(`/proc/${name}/stat`, (text) => parseStat(text) ?? []) ?? [];
  });
  return treeOf(root, stats);
}

/** Processor seconds of the whole tree since it started. */
export function treeCpuSeconds(root: number): number {
  return readTree(root).reduce((sum, { cpuTicks }) => sum + cpuTicks, 0) / TICKS_PER_SECOND;
}

/**
 * Resident memory of the whole tree: `VmRSS` now, `VmHWM` at the most. Pages that processes share count in each of
 * them, and peaks need not have been at one time, so that several processes look bigger than they are, never smaller.
 */
export function treeMemoryBytes(root: number, key: "VmRSS" | "VmHWM"): number {
  const line = new RegExp(`^${key}:\\s+(\\d+) kB`, "m");
  return readTree(root).reduce((sum, { pid }) => {
    const kilobytes = readIfThere(`/proc/${pid}/status`, (text) => Number(line.exec(text)?.[1] ?? 0));
    return sum + (kilobytes ?? 0) * 1024;
  }, 0);
}

export function resetTreePeaks(root: number): void {
  for (const { pid } of readTree(root)) writeFileSync(`/proc/${pid}/clear_refs`, "5");
}

/** A process may end between being listed and being read. */
function readIfThere<T>(file: string, read: (text: string) => T): T | undefined {
  try {
    return read(readFileSync(file, "utf8"));
  } catch {
    return undefined;
  }
}
