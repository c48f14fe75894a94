/**
 * The machine and the versions of everything that takes part: the head of every result.
 */
import { createHash } from "node:crypto";
import { arch, availableParallelism, cpus, release, totalmem, type } from "node:os";
import { attempt } from "../test/e2e/processes.ts";
import type { PeerFile } from "./peerfile.ts";
import { findProgram } from "./programs.ts";

export interface Machine {
  readonly date: string;
  readonly machine: string;
  readonly cores: number;
  readonly memoryBytes: number;
  readonly kernel: string;
  /** Every miss is hashed, and processors with instructions for it are seven times as fast as those without. */
  readonly sha256BytesPerSecond: number;
  readonly versions: Readonly<Record<string, string>>;
  readonly peers: Readonly<Record<string, string>>;
  readonly options: Readonly<Record<string, unknown>>;
}

const VERSION_FLAGS = { nginx: "-v", "docker-registry": "--version", wrk: "-v", h2load: "--version" } as const;

export async function describeMachine(options: Machine["options"], peers: readonly PeerFile[]): Promise<Machine> {
  const versions: Record<string, string> = { node: process.version, openssl: process.versions["openssl"] ?? "none" };
  for (const [program, flag] of Object.entries(VERSION_FLAGS)) {
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
    peers: Object.fromEntries(
      peers.map(({ name, what, command }) => [name, `${what}${findable(command) ? "" : " (missing)"}`]),
    ),
    options,
  };
}

export function machineText(about: Machine): string {
  const versions = Object.entries(about.versions).map(([name, version]) => `${name} ${version}`);
  const peers = Object.entries(about.peers).map(([name, what]) => `\npeer ${name}: ${what}`);
  const memory = `${Math.round(about.memoryBytes / 2 ** 30)} GiB`;
  const hash = `SHA-256 ${(about.sha256BytesPerSecond / 1e9).toFixed(2)} GB/s`;
  const hardware = `${about.machine}, ${about.cores} cores, ${memory}; ${about.kernel}; ${hash}`;
  return `${hardware}\n${versions.join(", ")}${peers.join("")}\n`;
}

/** A command with a placeholder is known only when it is started. */
function findable(command: string): boolean {
  return command.includes("{") || findProgram(command) !== undefined;
}

function measureHash(): number {
  const block = Buffer.alloc(1024 * 1024, 1);
  const hash = createHash("sha256");
  const startedAt = performance.now();
  let bytes = 0;
  for (; performance.now() - startedAt < 300; bytes += block.length) hash.update(block);
  return (bytes * 1000) / (performance.now() - startedAt);
}
