/**
 * The handle of the puller process: one job at a time, each with an end.
 */
import { type ChildProcess, execFileSync, fork } from "node:child_process";
import { once } from "node:events";
import { setPriority } from "node:os";
import { join } from "node:path";
import type { Jobs, Reply } from "./jobs.ts";
import { findProgram } from "./programs.ts";

const JOB_TIMEOUT_MS = 240_000;

export class Puller {
  readonly #child: ChildProcess;

  constructor(core?: number) {
    this.#child = fork(join(import.meta.dirname, "puller.ts"), { execArgv: [] });
    const taskset = core === undefined ? undefined : findProgram("taskset");
    if (taskset === undefined) return;
    // All threads that it has; those to come inherit.
    execFileSync(taskset, ["-a", "-p", "-c", String(core), String(this.#child.pid)], { stdio: "ignore" });
  }

  /** Whoever shares its core goes first. */
  yieldToOthers(): void {
    if (this.#child.pid !== undefined) setPriority(this.#child.pid, 10);
  }

  /** @throws what the job failed with, or that it took too long. */
  async run<Kind extends keyof Jobs>(job: Jobs[Kind]["job"] & { readonly kind: Kind }): Promise<Jobs[Kind]["result"]> {
    const answered = once(this.#child, "message", { signal: AbortSignal.timeout(JOB_TIMEOUT_MS) });
    this.#child.send(job);
    const gone = new AbortController();
    const exited = once(this.#child, "exit", { signal: gone.signal }).then(() => {
      throw new Error("the client process ended");
    });
    exited.catch(() => {});
    const [reply] = (await Promise.race([answered, exited]).finally(() => gone.abort())) as [Reply];
    if ("error" in reply) throw new Error(`${job.kind}: ${reply.error}`);
    // The puller answers each kind with its result.
    return reply.result as Jobs[Kind]["result"];
  }

  /** Fails unless the server sends exactly these bytes. */
  async verify(port: number, path: string, digest: string, accept?: string): Promise<void> {
    const target = { port, path, ...(accept === undefined ? {} : { accept }) };
    const got = await this.run({ kind: "hash", target });
    if (got.status !== 200 || got.digest !== digest) throw new Error(`wrong answer: ${got.status}, ${got.digest}`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const ended = once(this.#child, "exit");
    this.#child.kill("SIGKILL");
    await ended;
  }
}
