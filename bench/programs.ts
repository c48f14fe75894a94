/**
 * The programs that a benchmark can use and the project does not depend on. A missing one costs the scenarios that need
 * it, never the run.
 */
import { accessSync, constants } from "node:fs";
import { join } from "node:path";

/** Program → the Debian package that has it. */
const PACKAGES = {
  nginx: "nginx-light",
  "docker-registry": "docker-registry",
  wrk: "wrk",
  taskset: "util-linux",
} as const;

export type Program = keyof typeof PACKAGES;
export const PROGRAMS = Object.keys(PACKAGES) as Program[];

/** Service binaries live where only root's path looks. */
const PATHS = [...(process.env["PATH"] ?? "").split(":"), "/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/bin", "/bin"];

export function findProgram(program: Program): string | undefined {
  for (const dir of PATHS) {
    const path = join(dir, program);
    try {
      accessSync(path, constants.X_OK);
      return path;
    } catch {
      // Not here; the next one may have it.
    }
  }
  return undefined;
}

/** @throws MissingProgram. */
export function needProgram(program: Program): string {
  const path = findProgram(program);
  if (path === undefined) throw new MissingProgram(program);
  return path;
}

/** Reported as "missing", not as a failure. */
export class MissingProgram extends Error {
  constructor(program: Program) {
    super(`${program} is not installed (Debian: apt-get install ${PACKAGES[program]})`);
  }
}

/** Keeps a command on one core where that can be had; `undefined` leaves it to the scheduler. */
export function pinned(core: number | undefined, command: string, args: readonly string[]): [string, string[]] {
  const taskset = core === undefined ? undefined : findProgram("taskset");
  return taskset === undefined ? [command, [...args]] : [taskset, ["-c", String(core), command, ...args]];
}
