/**
 * What the puller process can be asked for, and what it answers. These go through Node's IPC as JSON.
 */

export interface Target {
  readonly port: number;
  readonly path: string;
  /** Value of the `Range` header. */
  readonly range?: string;
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
  /** A file with the right bytes: comparing is far cheaper than hashing, and as strict. */
  readonly file: string;
  readonly early: number;
  readonly late: number;
}

export interface HerdResult {
  /** Clients that received every byte, and every byte right. */
  readonly right: number;
  readonly seconds: number;
  /** When the first client was done. */
  readonly firstSeconds: number;
  /** When the late ones asked. */
  readonly joinedSeconds: number;
}

export interface Jobs {
  readonly repeat: { readonly job: RepeatJob; readonly result: RepeatResult };
  readonly series: { readonly job: SeriesJob; readonly result: SeriesResult };
  readonly hash: { readonly job: HashJob; readonly result: HashResult };
  readonly herd: { readonly job: HerdJob; readonly result: HerdResult };
}

export type Job = Jobs[keyof Jobs]["job"];
export type Reply = { readonly result: Jobs[keyof Jobs]["result"] } | { readonly error: string };
