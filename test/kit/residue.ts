/**
 * Finds what a test or the code under it left behind: files, sockets, servers, timers that hold the process.
 */
import { readdir } from "node:fs/promises";
import { join, relative } from "node:path";

/** By which a store knows its directory: there as long as that is. */
const MARK = /(^|\/)(\.mark|blobs\.mark)$/;

/** Files below `dir` (paths relative to it, sorted) that `wanted` accepts; a directory that is gone has none. */
export async function filesUnder(dir: string, wanted: (path: string) => boolean = () => true): Promise<string[]> {
  try {
    const entries = await readdir(dir, { recursive: true, withFileTypes: true });
    return entries
      .filter((entry) => !entry.isDirectory())
      .map((entry) => relative(dir, join(entry.parentPath, entry.name)))
      .filter((path) => !MARK.test(path) && wanted(path))
      .sort();
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ENOENT") return [];
    throw error;
  }
}

/** How many of each kind of resource hold the event loop now. */
export type Resources = ReadonlyMap<string, number>;

/** Kinds that come and go by themselves (a finished lookup, a file operation in flight) say nothing about leaks. */
const TELLING =
  /^(TCPSocketWrap|TCPServerWrap|TLSWrap|PipeWrap|PipeServerWrap|Timeout|Immediate|ProcessWrap|FSEvent.*|Worker)$/;

export function openResources(): Resources {
  const counts = new Map<string, number>();
  for (const kind of process.getActiveResourcesInfo()) {
    if (TELLING.test(kind)) counts.set(kind, (counts.get(kind) ?? 0) + 1);
  }
  return counts;
}

/**
 * Waits until no more is open than at `baseline`.
 * @returns what is too much after `graceMs`, as `kind: extra`; empty where all is well.
 */
export async function residueSince(baseline: Resources, graceMs = 2_000): Promise<string[]> {
  const until = performance.now() + graceMs;
  for (;;) {
    await new Promise((resolve) => setImmediate(resolve));
    const extra: string[] = [];
    for (const [kind, count] of openResources()) {
      const before = baseline.get(kind) ?? 0;
      if (count > before) extra.push(`${kind}: ${count - before}`);
    }
    if (extra.length === 0 || performance.now() > until) return extra;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
