/**
 * A server under measurement: a child process with its output in files, its processor time and memory (its children's
 * too) as the kernel counts them, stopped by its pid.
 *
 * Output goes to files and not to pipes, so that the benchmark costs the server what a log file costs and no more.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { closeSync, openSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { readTree, resetTreePeaks, TICKS_PER_SECOND, treeCpuSeconds, treeMemoryBytes } from "./processtree.ts";
import { pinned } from "./programs.ts";

export interface DaemonOptions {
  readonly name: string;
  /** Where `<name>.out` and `<name>.err` are written. */
  readonly dir: string;
  readonly command: string;
  readonly args: readonly string[];
  /** The only cores it may use, as taskset words them: 0, or "0,1". */
  readonly core?: number | string | undefined;
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd?: string;
}

const running = new Set<ChildProcess>();

// The last resort; in the ordinary course everything has been stopped before.
process.on("exit", () => {
  for (const child of running) child.kill("SIGKILL");
});

export class Daemon {
  readonly name: string;
  readonly outFile: string;
  readonly errFile: string;
  readonly #child: ChildProcess;
  readonly #exited: Promise<void>;
  #ended = false;

  constructor(options: DaemonOptions) {
    this.name = options.name;
    this.outFile = join(options.dir, `${options.name}.out`);
    this.errFile = join(options.dir, `${options.name}.err`);
    const [command, args] = pinned(options.core, options.command, options.args);
    const out = openSync(this.outFile, "a");
    const err = openSync(this.errFile, "a");
    const env = { ...process.env, ...options.env };
    this.#child = spawn(command, args, { stdio: ["ignore", out, err], env, cwd: options.cwd });
    closeSync(out);
    closeSync(err);
    running.add(this.#child);
    this.#exited = new Promise((resolve) => {
      const end = () => {
        this.#ended = true;
        running.delete(this.#child);
        resolve();
      };
      this.#child.once("error", end);
      this.#child.once("exit", end);
    });
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  /** User and system time of it and its children, all threads, since it started. */
  cpuSeconds(): number {
    return treeCpuSeconds(this.#running());
  }

  /** Of each process by itself: how evenly work is shared among them. */
  cpuSecondsEach(): ReadonlyMap<number, number> {
    return new Map(readTree(this.#running()).map(({ pid, cpuTicks }) => [pid, cpuTicks / TICKS_PER_SECOND]));
  }

  /** The most memory it and its children had resident since `resetPeak`. */
  peakBytes(): number {
    return treeMemoryBytes(this.#running(), "VmHWM");
  }

  residentBytes(): number {
    return treeMemoryBytes(this.#running(), "VmRSS");
  }

  resetPeak(): void {
    resetTreePeaks(this.#running());
  }

  /** @throws with what it said where it ends first or the time runs out. */
  async until(ready: () => Promise<boolean>, timeoutMs = 20_000): Promise<void> {
    const deadline = performance.now() + timeoutMs;
    while (!(await ready())) {
      if (this.#ended) throw new Error(`${this.name} ended: ${this.#said()}`);
      if (performance.now() > deadline)
        throw new Error(`${this.name}: waited ${timeoutMs} ms in vain: ${this.#said()}`);
      await sleep(20);
    }
  }

  /** Waits until it has used no processor time for 300 ms: whatever it did behind its last answer is done. */
  async quiet(timeoutMs = 20_000): Promise<void> {
    const deadline = performance.now() + timeoutMs;
    let before = this.cpuSeconds();
    for (;;) {
      await sleep(300);
      const now = this.cpuSeconds();
      // One tick is what a timer costs.
      if (now - before <= 1 / TICKS_PER_SECOND || performance.now() > deadline) return;
      before = now;
    }
  }

  /** Gives it no chance to end anything. */
  async kill(): Promise<void> {
    this.#child.kill("SIGKILL");
    await this.#exited;
  }

  /** SIGTERM, and SIGKILL where that does not help. */
  async stop(graceMs = 10_000): Promise<void> {
    if (this.#ended) return;
    this.#child.kill("SIGTERM");
    const killer = setTimeout(() => this.#child.kill("SIGKILL"), graceMs);
    await this.#exited;
    clearTimeout(killer);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop();
  }

  #said(): string {
    return `${readFileSync(this.errFile, "utf8").slice(-2000)}\n${readFileSync(this.outFile, "utf8").slice(-2000)}`.trim();
  }

  /** A service that is gone has no figures; zero would look like a good one. */
  #running(): number {
    if (this.#ended) throw new Error(`${this.name} ended: ${this.#said()}`);
    return this.pid;
  }
}
