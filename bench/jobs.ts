/**
 * What the puller process can be asked for, and what it answers. These go through Node's IPC as JSON.
 */
import type { Protocol } from "./secure.ts";

export interface Target {
  readonly port: number;
  readonly path: string;
  /** Value of the `Range` header. */
  readonly range?: string;
  /** Value of the `Accept` header. */
  readonly accept?: string;
}

/** Each of several connections asks for the same thing again and again; bodies are discarded. */
export interface RepeatJob {
  readonly kind: "repeat";
  readonly target: Target;
  readonly connections: number;
  readonly times: number;
}

export interface RepeatResult {
  readonly seconds: number;
  readonly bytes: number;
  /** The puller's own, which includes what the kernel does on its behalf. */
  readonly clientCpuSeconds: number;
}

/** One request after the other, each timed; one connection per port. */
export interface SeriesJob {
  readonly kind: "series";
  readonly targets: readonly Target[];
  readonly pauseMs: number;
}

export interface SeriesResult {
  readonly answers: readonly { status: number; bodyBytes: number; firstByteMs: number; totalMs: number }[];
}

/** One request, hashed. */
export interface HashJob {
  readonly kind: "hash";
  readonly target: Target;
}

export interface HashResult {
  readonly status: number;
  readonly digest: string;
}

/** Clients at once, and as many again when the first of them has half of it. */
export interface HerdJob {
  readonly kind: "herd";
  readonly target: Target;
  /**
   * A file with the right bytes, to compare with: far cheaper than hashing, and as strict. Without it bytes are counted
   * only, so that it is not the client that is timed.
   */
  readonly file?: string;
  readonly sizeBytes: number;
  readonly early: number;
  readonly late: number;
}

export interface HerdResult {
  /** Clients that received every byte, and every byte right where there was a file to compare with. */
  readonly right: number;
  readonly seconds: number;
  /** When the first client was done. */
  readonly firstSeconds: number;
  /** When the late ones asked. */
  readonly joinedSeconds: number;
  readonly clientCpuSeconds: number;
}

/** Connections that take the same thing without end, for so long; bodies are discarded. */
export interface FloodJob {
  readonly kind: "flood";
  readonly target: Target;
  readonly connections: number;
  readonly seconds: number;
}

export interface FloodResult {
  readonly seconds: number;
  readonly bytes: number;
}

/** One small request after the other on one connection, for so long. */
export interface ProbeJob {
  readonly kind: "probe";
  readonly target: Target;
  readonly seconds: number;
  readonly pauseMs: number;
}

export interface ProbeResult {
  readonly totalMs: readonly number[];
}

/** Readers of one thing that take a little of it every second, and never reach its end. */
export interface TrickleJob {
  readonly kind: "trickle";
  readonly target: Target;
  readonly readers: number;
  readonly seconds: number;
  readonly bytesPerSecond: number;
}

export interface TrickleResult {
  /** Readers whose answer began with 200 and went on until the time was over. */
  readonly reading: number;
  readonly bytes: number;
}

/** One request over TLS, hashed. */
export interface SecureHashJob {
  readonly kind: "secure-hash";
  readonly target: Target;
  readonly protocol: Protocol;
}

export interface Jobs {
  readonly flood: { readonly job: FloodJob; readonly result: FloodResult };
  readonly probe: { readonly job: ProbeJob; readonly result: ProbeResult };
  readonly trickle: { readonly job: TrickleJob; readonly result: TrickleResult };
  readonly "secure-hash": { readonly job: SecureHashJob; readonly result: HashResult };
  readonly repeat: { readonly job: RepeatJob; readonly result: RepeatResult };
  readonly series: { readonly job: SeriesJob; readonly result: SeriesResult };
  readonly hash: { readonly job: HashJob; readonly result: HashResult };
  readonly herd: { readonly job: HerdJob; readonly result: HerdResult };
}

export type Job = Jobs[keyof Jobs]["job"];
export type Reply = { readonly result: Jobs[keyof Jobs]["result"] } | { readonly error: string };
