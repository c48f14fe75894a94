/**
 * Whether to ask once more after a failure, and when; pure. GET and HEAD may always be repeated; what decides is whether the
 * failure is one that passes, how long whoever asks has time, and whether somebody waits.
 */
import type { Failure } from "../../base/failure.ts";
import { codeOf } from "../exchange/trouble.ts";
import { AddressRefused } from "../network/addresses.ts";
import type { Urgency } from "../urgency.ts";

/** Statuses of a server that may do better in a moment (RFC 9110 §15.5.9, §15.6). */
const PASSING = new Set([408, 500, 502, 503, 504]);
/** Codes of connections that will fail the same way the next time. */
const LASTING =
  /^(CERT_|ERR_TLS_|ERR_SSL_|DEPTH_ZERO_|SELF_SIGNED_|UNABLE_TO_|EPROTO$|ENOTFOUND$|HPE_|WIRE_MALFORMED$|WIRE_PROXY_REFUSED$|WIRE_SHUT$|UND_ERR_(DESTROYED|CLOSED)$)/;

/** Statuses that speak for the whole endpoint: nobody is served there now. */
const DOWN = new Set([502, 503, 504]);

const FIRST_DELAY_MS = 100;
const MAX_ATTEMPTS = 4;
/** A wait that an upstream asks for is worth it up to here; longer, whoever asked is told. */
const MAX_LIMITED_MS = 2000;

export interface FailedAttempt {
  readonly failure: Failure;
  /** How many were made, this one included. */
  readonly attempts: number;
  /** What is left of the time for all of them. */
  readonly leftMs: number;
  readonly urgency: Urgency;
  /** Another endpoint can be asked at once. */
  readonly elsewhere: boolean;
  /** 0 ≤ x < 1. */
  readonly random: number;
}

/** In how many milliseconds to ask again; undefined: not at all. */
export function planRetry(failed: FailedAttempt): number | undefined {
  const { failure, attempts, leftMs, urgency, elsewhere, random } = failed;
  if (attempts >= MAX_ATTEMPTS) return undefined;
  // Whoever can be served something else is not worth a second load on an upstream that is in trouble.
  if (urgency === "refresh" && !elsewhere) return undefined;
  const delayMs = delayOf(failure, attempts, elsewhere, random);
  return delayMs === undefined || delayMs >= leftMs ? undefined : delayMs;
}

function delayOf(failure: Failure, attempts: number, elsewhere: boolean, random: number): number | undefined {
  const { kind, retryAfterMs } = failure;
  if (kind === "limited") {
    if (elsewhere) return 0;
    if (retryAfterMs === undefined || retryAfterMs > MAX_LIMITED_MS) return undefined;
    // Everybody who was told the same comes back at the same time otherwise.
    return retryAfterMs + FIRST_DELAY_MS * attempts * random;
  }
  if (kind !== "unreachable" || !isPassing(failure)) return elsewhere && isOfEndpoint(failure) ? 0 : undefined;
  if (elsewhere) return 0;
  if (failure.timedOut) return undefined;
  if (retryAfterMs !== undefined && retryAfterMs > MAX_LIMITED_MS) return undefined;
  return Math.max(retryAfterMs ?? 0, FIRST_DELAY_MS * 3 ** (attempts - 1) * (0.5 + random));
}

/** Might the same question be answered a moment later? */
export function isPassing(failure: Failure): boolean {
  const { upstreamStatus, cause } = failure;
  if (upstreamStatus !== undefined) return PASSING.has(upstreamStatus);
  return !(cause instanceof AddressRefused) && !LASTING.test(codeOf(cause));
}

/** Does it say that the endpoint serves nobody now? */
export function isOfEndpoint(failure: Failure): boolean {
  if (failure.kind !== "unreachable") return false;
  return failure.upstreamStatus === undefined || speaksForEndpoint(failure.upstreamStatus);
}

/** Is it the status of a server that serves nobody now? */
export function speaksForEndpoint(status: number): boolean {
  return DOWN.has(status);
}
