/**
 * `wrk`: requests per second of one small answer.
 */
import { run } from "../test/e2e/processes.ts";
import { needProgram, pinned } from "./programs.ts";
import type { Sample } from "./samples.ts";
import type { Served } from "./served.ts";

export interface WrkOptions {
  readonly url: string;
  readonly seconds: number;
  readonly connections: number;
  readonly accept?: string;
  readonly core?: number | undefined;
}

export interface WrkResult {
  readonly requestsPerSecond: number;
  readonly p99Ms: number;
  /** Anything but a complete 2xx or 3xx. */
  readonly failures: number;
}

/** @throws MissingProgram. */
export async function runWrk(options: WrkOptions): Promise<WrkResult> {
  const flags = ["-t1", `-c${options.connections}`, `-d${options.seconds}s`, "--latency"];
  const headers = options.accept === undefined ? [] : ["-H", `Accept: ${options.accept}`];
  const [command, args] = pinned(options.core, needProgram("wrk"), [...flags, ...headers, options.url]);
  const { stdout } = await run(command, args, { timeoutMs: (options.seconds + 10) * 1000 });
  return parseWrk(stdout);
}

/** @throws where the text is not wrk's. */
export function parseWrk(text: string): WrkResult {
  const rate = /Requests\/sec: +([\d.]+)/.exec(text)?.[1];
  if (rate === undefined) throw new Error(`wrk said something else: ${text.slice(-500)}`);
  const [, ...socketErrors] = /connect (\d+), read (\d+), write (\d+), timeout (\d+)/.exec(text) ?? [];
  const answers = Number(/Non-2xx or 3xx responses: (\d+)/.exec(text)?.[1] ?? 0);
  const [, time, unit = ""] = /99% +([\d.]+)(us|ms|s|m)\b/.exec(text) ?? [];
  return {
    requestsPerSecond: Number(rate),
    p99Ms: Number(time ?? Number.NaN) * ({ us: 1e-3, ms: 1, s: 1000, m: 60_000 }[unit] ?? Number.NaN),
    failures: answers + socketErrors.reduce((sum, count) => sum + Number(count), 0),
  };
}

export interface ManifestLoad extends Omit<WrkOptions, "url"> {
  readonly server: Served;
  readonly path: string;
}

/** A round of small requests and what they cost the server. @throws where one of them failed. */
export async function loadManifest({ server, path, ...options }: ManifestLoad): Promise<Sample> {
  const { daemon, port } = server;
  const url = `http://127.0.0.1:${port}${path}`;
  daemon.resetPeak();
  const cpuBefore = daemon.cpuSeconds();
  const { requestsPerSecond, p99Ms, failures } = await runWrk({ ...options, url });
  const cpuSeconds = daemon.cpuSeconds() - cpuBefore;
  if (failures > 0) throw new Error(`${failures} requests failed`);
  const cpuMicros = (cpuSeconds / (requestsPerSecond * options.seconds)) * 1e6;
  return {
    perSecond: requestsPerSecond,
    cpuMicros,
    p99Ms,
    serverCores: cpuSeconds / options.seconds,
    residentMegabytes: daemon.peakBytes() / 1e6,
  };
}
