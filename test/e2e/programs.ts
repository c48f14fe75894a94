/**
 * Which programs a test needs, and what happens where they are missing: on CI that is a failure, because a suite that
 * skips everything looks green; elsewhere the test is skipped and says which Debian package has the program.
 */
import { accessSync, constants } from "node:fs";
import { join } from "node:path";

const PACKAGES = {
  dockerd: "docker.io",
  docker: "docker.io",
  containerd: "containerd",
  ctr: "containerd",
  runc: "runc",
  podman: "podman",
  skopeo: "skopeo",
  "docker-registry": "docker-registry",
  busybox: "busybox-static",
} as const;

export type Program = keyof typeof PACKAGES;

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

/**
 * Options for `test()`: skipped with the reason where a program is missing.
 * @throws where `CI` is "true" and something is missing.
 */
export function needs(programs: readonly Program[], { root = false } = {}): { skip: string | false } {
  const faults = programs
    .filter((program) => findProgram(program) === undefined)
    .map((program) => `${program} is missing: apt-get install ${PACKAGES[program]}`);
  if (root && process.getuid?.() !== 0) faults.push("must run as root, to mount and to start containers");
  if (faults.length === 0) return { skip: false };
  const reason = faults.join("; ");
  if (process.env["CI"] === "true") throw new Error(reason);
  return { skip: reason };
}
