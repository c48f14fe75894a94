/**
 * Child processes with an end: output is kept, every wait is bounded, stopping is by pid and is checked.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { createServer } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";

export interface RunResult {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

interface RunOptions {
  readonly env?: Readonly<Record<string, string>>;
  readonly timeoutMs?: number;
}

/** Runs a program to its end. @throws where it exits with anything but 0, with all it said. */
export async function run(command: string, args: readonly string[], options: RunOptions = {}): Promise<RunResult> {
  const result = await attempt(command, args, options);
  if (result.status === 0) return result;
  throw new Error(`${command} ${args.join(" ")}: exit ${result.status}\n${result.stdout}\n${result.stderr}`);
}

/** Runs a program to its end, whatever that is. */
export function attempt(command: string, args: readonly string[], options: RunOptions = {}): Promise<RunResult> {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, {
      env: { ...process.env, ...options.env },
      stdio: ["ignore", "pipe", "pipe"],
      timeout: options.timeoutMs ?? 120_000,
      killSignal: "SIGKILL",
    });
    let stdout = "";
    let stderr = "";
    child.stdout.setEncoding("utf8").on("data", (text: string) => {
      stdout += text;
    });
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      stderr += text;
    });
    child.on("error", reject);
    child.on("close", (status) => resolve({ status, stdout, stderr }));
  });
}

export class Service {
  readonly name: string;
  readonly #child: ChildProcess;
  readonly #exited: Promise<number | NodeJS.Signals>;
  #stdout = "";
  #stderr = "";
  #ended: number | NodeJS.Signals | undefined;

  constructor(name: string, command: string, args: readonly string[], env: Readonly<Record<string, string>> = {}) {
    this.name = name;
    const child = spawn(command, args, { env: { ...process.env, ...env }, stdio: ["ignore", "pipe", "pipe"] });
    this.#child = child;
    child.stdout.setEncoding("utf8").on("data", (text: string) => {
      this.#stdout += text;
    });
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      this.#stderr += text;
    });
    this.#exited = new Promise((resolve) => {
      const end = (how: number | NodeJS.Signals) => {
        this.#ended = how;
        resolve(how);
      };
      child.on("error", (error) => {
        this.#stderr += String(error);
        end(127);
      });
      child.on("exit", (code, signal) => end(code ?? signal ?? 0));
    });
  }

  get stdout(): string {
    return this.#stdout;
  }

  get output(): string {
    return `${this.#stdout}\n${this.#stderr}`;
  }

  get running(): boolean {
    return this.#ended === undefined;
  }

  /** Waits until `ready` says so. @throws with the output where the process ends first or the time runs out. */
  async until(ready: () => boolean | Promise<boolean>, timeoutMs = 30_000): Promise<void> {
    const deadline = performance.now() + timeoutMs;
    while (!(await ready())) {
      if (!this.running) throw new Error(`${this.name} ended (${this.#ended}) before it was ready:\n${this.output}`);
      if (performance.now() > deadline) {
        throw new Error(`${this.name} was not ready within ${timeoutMs} ms:\n${this.output}`);
      }
      await sleep(50);
    }
  }

  /** SIGTERM, and SIGKILL where that does not help. @returns how it ended: an exit code, or the signal's name. */
  async stop(graceMs = 20_000): Promise<number | NodeJS.Signals> {
    if (!this.running) return this.#exited;
    this.#child.kill("SIGTERM");
    const killer = setTimeout(() => this.#child.kill("SIGKILL"), graceMs);
    const how = await this.#exited;
    clearTimeout(killer);
    return how;
  }

  /** As a power cut would: SIGKILL. */
  async kill(): Promise<void> {
    this.#child.kill("SIGKILL");
    await this.#exited;
  }
}

/** A loopback port that nobody has at this moment. */
export function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.on("error", reject);
    server.listen(0, "127.0.0.1", () => {
      const address = server.address();
      server.close(() => (typeof address === "object" && address !== null ? resolve(address.port) : reject(address)));
    });
  });
}
