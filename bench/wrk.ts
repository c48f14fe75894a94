/**
 * `wrk`: requests per second of one small answer.
 */
import { run } from "../test/e2e/processes.ts";
import { needProgram, pinned } from "./programs.ts";

export interface WrkOptions {
  readonly url: string;
  readonly seconds: number;
  readonly connections: number;
  readonly accept?: string;
  readonly core?: number | undefined;
}

export interface WrkResult {
  readonly requestsPerSecond: number;
  /** The 99th percentile as wrk words it: "1.02ms". */
  readonly p99: string;
  /** Anything but a complete 2xx or 3xx. */
  readonly failures: number;
}

/** @throws MissingProgram. */
export async function runWrk(options: WrkOptions): Promise<WrkResult> {
  const flags = ["-t1", `-c${options.connections}`, `-d${options.seconds}s`, "--latency"];
  const headers = options.accept === undefined ? [] : ["-H", `Accept: ${options.accept}`];
  const [command, args] = pinned(options.core, needProgram("wrk"), [...flags, ...headers, options.url]);
  const { stdout } = await run(command, args, { timeoutMs: (options.seconds + 10) * 1000 });
  const number = (pattern: RegExp) => Number(pattern.exec(stdout)?.[1] ?? 0);
  const [, ...socketErrors] = /connect (\d+), read (\d+), write (\d+), timeout (\d+)/.exec(stdout) ?? [];
  return {
    requestsPerSecond: number(/Requests\/sec: +([\d.]+)/),
    p99: /99% +(\S+)/.exec(stdout)?.[1] ?? "?",
    failures: number(/Non-2xx or 3xx responses: (\d+)/) + socketErrors.reduce((sum, count) => sum + Number(count), 0),
  };
}
