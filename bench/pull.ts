/**
 * The handle of the puller process: one job at a time, each with an end.
 */
import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import type { Jobs, Reply } from "./jobs.ts";

const JOB_TIMEOUT_MS = 120_000;

export class Puller {
  readonly #child: ChildProcess;

  constructor() {
    this.#child = fork(join(import.meta.dirname, "puller.ts"), { execArgv: [] });
  }

  /** @throws what the job failed with, or that it took too long. */
  async run<Kind extends keyof Jobs>(job: Jobs[Kind]["job"] & { readonly kind: Kind }): Promise<Jobs[Kind]["result"]> {
    const answered = once(this.#child, "message", { signal: AbortSignal.timeout(JOB_TIMEOUT_MS) });
    this.#child.send(job);
    const [reply] = (await answered) as [Reply];
    if ("error" in reply) throw new Error(`${job.kind}: ${reply.error}`);
    // The puller answers each kind with its result.
    return reply.result as Jobs[Kind]["result"];
  }

  /** Fails unless the server sends exactly these bytes. */
  async verify(port: number, path: string, digest: string): Promise<void> {
    const got = await this.run({ kind: "hash", target: { port, path } });
    if (got.status !== 200 || got.digest !== digest) throw new Error(`wrong answer: ${got.status}, ${got.digest}`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const ended = once(this.#child, "exit");
    this.#child.kill("SIGKILL");
    await ended;
  }
}
