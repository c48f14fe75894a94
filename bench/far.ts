/**
 * The handle of the shim's process.
 */
import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";

/** 20 ms each way: a round trip of 40 ms. */
export const ONE_WAY_MS = 20;
export const BITS_PER_SECOND = 300e6;

export class FarLine {
  readonly port: number;
  readonly #child: ChildProcess;

  private constructor(child: ChildProcess, port: number) {
    this.#child = child;
    this.port = port;
  }

  static async open(targetPort: number, delayMs = ONE_WAY_MS, bitsPerSecond = BITS_PER_SECOND): Promise<FarLine> {
    const args = [targetPort, delayMs, bitsPerSecond].map(String);
    const stdio = ["ignore", "pipe", "inherit", "ipc"] as const;
    const child = fork(join(import.meta.dirname, "shim.ts"), args, { execArgv: [], stdio: [...stdio] });
    if (child.stdout === null) throw new Error("the shim has no output");
    try {
      const [text] = (await once(child.stdout, "data", { signal: AbortSignal.timeout(10_000) })) as [Buffer];
      return new FarLine(child, Number(text.toString()));
    } catch (error) {
      child.kill("SIGKILL");
      throw error;
    }
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const ended = once(this.#child, "exit");
    this.#child.kill("SIGKILL");
    await ended;
  }
}
