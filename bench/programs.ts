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
  h2load: "nghttp2-client",
  taskset: "util-linux",
  unshare: "util-linux",
  nsenter: "util-linux",
} as const;

/** Service binaries live where only root's path looks. */
const PATHS = [...(process.env["PATH"] ?? "").split(":"), "/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/bin", "/bin"];

export function findProgram(program: string): string | undefined {
  if (program.includes("/")) return isExecutable(program) ? program : undefined;
  return PATHS.map((dir) => join(dir, program)).find(isExecutable);
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

/** @throws MissingProgram. */
export function needProgram(program: string): string {
  const path = findProgram(program);
  if (path === undefined) throw new MissingProgram(program);
  return path;
}

/** Reported as "missing", not as a failure. */
export class MissingProgram extends Error {
  constructor(program: string) {
    const known = Object.entries(PACKAGES).find(([name]) => name === program)?.[1];
    super(`${program} is not installed${known === undefined ? "" : ` (Debian: apt-get install ${known})`}`);
  }
}

/** Keeps a command on one core where that can be had; `undefined` leaves it to the scheduler. */
export function pinned(
  core: number | string | undefined,
  command: string,
  args: readonly string[],
): [string, string[]] {
  const taskset = core === undefined ? undefined : findProgram("taskset");
  return taskset === undefined ? [command, [...args]] : [taskset, ["-c", String(core), command, ...args]];
}
