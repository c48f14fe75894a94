/**
 * The expected ways to fail.
 *
 * A `Failure` is something the mirror foresaw: bad input, an upstream in trouble, a full disk. It carries a kind from a
 * closed set; what a kind means on the wire or as an exit code is decided where it is answered, not here. An error
 * that is not a `Failure` is a bug.
 */

export type FailureKind =
  /** The caller sent something malformed. */
  | "invalid"
  /** The caller must say who it is. */
  | "unauthenticated"
  /** The caller may not. */
  | "denied"
  /** The thing does not exist. */
  | "unknown"
  /** The operation, method or range is not offered. */
  | "unsupported"
  /** An upstream's limit is used up. */
  | "limited"
  /** An upstream refused our own credentials. */
  | "refused"
  /** Bytes do not match their digest, size or type. */
  | "corrupt"
  /** An upstream did not answer, or not in time. */
  | "unreachable"
  /** We have too much to do, or this machine does not give us what we need (a port). */
  | "overloaded"
  /** Our disk or database failed. */
  | "storage";

export interface FailureOptions {
  /** An OCI distribution error code (`MANIFEST_UNKNOWN`, …) where the place of failure knows it best. */
  readonly code?: string;
  /** Machine-readable context for the error envelope; never holds secrets. */
  readonly detail?: unknown;
  readonly cause?: unknown;
  /** After how many milliseconds trying again may help. */
  readonly retryAfterMs?: number;
  /** True where the failure is a wait that ran out; `unreachable` is then answered 504 instead of 502. */
  readonly timedOut?: boolean;
  /** The HTTP status an upstream answered with, where there was one. */
  readonly upstreamStatus?: number;
}

export class Failure extends Error {
  override readonly name = "Failure";
  readonly kind: FailureKind;
  readonly code: string | undefined;
  readonly detail: unknown;
  readonly retryAfterMs: number | undefined;
  readonly timedOut: boolean;
  readonly upstreamStatus: number | undefined;

  constructor(kind: FailureKind, message: string, options: FailureOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.kind = kind;
    this.code = options.code;
    this.detail = options.detail;
    this.retryAfterMs = options.retryAfterMs;
    this.timedOut = options.timedOut ?? false;
    this.upstreamStatus = options.upstreamStatus;
  }
}

/** True for a `Failure`, of one of the given kinds if any are given. */
export function isFailure(error: unknown, ...kinds: FailureKind[]): error is Failure {
  return error instanceof Failure && (kinds.length === 0 || kinds.includes(error.kind));
}

/** The text of anything that was thrown. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** The `code` of a Node system error (`ENOENT`, `ECONNREFUSED`, `UND_ERR_…`), if it has one. */
export function errnoOf(error: unknown): string | undefined {
  if (typeof error !== "object" || error === null || !("code" in error)) return undefined;
  return typeof error.code === "string" ? error.code : undefined;
}
