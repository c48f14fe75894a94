/**
 * What every answer of the registry API carries, and how a `Failure` is told to a client. The only place where failure
 * kinds become statuses.
 */
import type { OutgoingHttpHeaders } from "node:http";
import { Failure, type FailureKind } from "../base/failure.ts";
import { cacheLabel, type Verdict } from "../mirror/verdict.ts";
import { errorEnvelope } from "../oci/codes.ts";
import { cacheStatus } from "./cachestatus.ts";
import type { Exchange } from "./exchange.ts";

interface Translation {
  readonly status: number;
  readonly code: string;
}

/** PROTOCOL: what cannot be served must let clients fall back, and trouble with an upstream is never 401 or 403. */
const TRANSLATIONS: Readonly<Record<FailureKind, Translation>> = {
  invalid: { status: 400, code: "NAME_INVALID" },
  unauthenticated: { status: 401, code: "UNAUTHORIZED" },
  denied: { status: 403, code: "DENIED" },
  unknown: { status: 404, code: "NAME_UNKNOWN" },
  unsupported: { status: 405, code: "UNSUPPORTED" },
  limited: { status: 429, code: "TOOMANYREQUESTS" },
  refused: { status: 502, code: "UNAVAILABLE" },
  corrupt: { status: 502, code: "UNAVAILABLE" },
  unreachable: { status: 502, code: "UNAVAILABLE" },
  overloaded: { status: 503, code: "UNAVAILABLE" },
  storage: { status: 500, code: "UNKNOWN" },
};

/** Where whoever failed does not know better. */
const RETRY_AFTER_MS: Partial<Record<FailureKind, number>> = { overloaded: 5000, limited: 60_000 };

/** Headers of every answer. */
export function commonHeaders(exchange: Exchange, verdict: Verdict): OutgoingHttpHeaders {
  exchange.cache = cacheLabel(verdict);
  return answerHeaders(exchange.requestId, verdict);
}

export function answerHeaders(requestId: string, verdict: Verdict): OutgoingHttpHeaders {
  return {
    "Docker-Distribution-Api-Version": "registry/2.0",
    "X-Content-Type-Options": "nosniff",
    Via: "1.1 wharfinger",
    "X-Request-Id": requestId,
    "Cache-Status": cacheStatus(verdict),
  };
}

/** `OCI-Namespace` echoes what the client said. */
export function namespaceText(ns: string): string {
  return ns.replace(/[^\x21-\x7e]/g, "?");
}

/** Headers of content, be it manifest or blob. */
export function contentHeaders(headers: OutgoingHttpHeaders, digest: string): OutgoingHttpHeaders {
  headers["Docker-Content-Digest"] = digest;
  headers["ETag"] = `"${digest}"`;
  return headers;
}

/** Headers of what ages. */
export function agingHeaders(
  headers: OutgoingHttpHeaders,
  answer: { readonly ageMs?: number; readonly warning?: string },
): OutgoingHttpHeaders {
  headers["Cache-Control"] = "no-cache";
  if (answer.ageMs !== undefined) headers["Age"] = Math.floor(answer.ageMs / 1000);
  if (answer.warning !== undefined) headers["Warning"] = `299 - "${quotable(answer.warning)}"`;
  return headers;
}

/** Answers with an OCI error envelope. */
export function replyError(
  exchange: Exchange,
  status: number,
  error: { readonly code: string; readonly message: string; readonly detail?: unknown },
  verdict: Verdict,
  more: OutgoingHttpHeaders = {},
): void {
  const body = Buffer.from(errorEnvelope(error.code, error.message, error.detail));
  exchange.head(status, {
    ...commonHeaders(exchange, verdict),
    "Content-Type": "application/json",
    "Content-Length": body.length,
    "Cache-Control": "no-store",
    ...more,
  });
  exchange.end(body);
}

/** Answers a failure, or breaks the answer off where it has begun. What is no `Failure` is a bug: nothing of it on the wire. */
export function replyFailure(exchange: Exchange, error: unknown): void {
  if (exchange.begun) {
    exchange.cut(error instanceof Error ? error : new Error(String(error)));
    return;
  }
  if (!(error instanceof Failure)) {
    exchange.error = error instanceof Error ? error : new Error(String(error));
    replyError(exchange, 500, { code: "UNKNOWN", message: "internal error" }, { cache: "none" });
    return;
  }
  exchange.error = error;
  const { status, code } = TRANSLATIONS[error.kind];
  const headers: OutgoingHttpHeaders = {};
  if (error.kind === "unsupported") headers["Allow"] = "GET, HEAD";
  const retryAfterMs = error.retryAfterMs ?? RETRY_AFTER_MS[error.kind];
  if (retryAfterMs !== undefined) headers["Retry-After"] = Math.max(1, Math.ceil(retryAfterMs / 1000));
  const told = { code: error.code ?? code, message: error.message, detail: error.detail };
  replyError(exchange, error.timedOut ? 504 : status, told, verdictOf(error), headers);
}

/** Kinds that only an answer of an upstream, or the lack of one, gives rise to. */
const UPSTREAM_KINDS: ReadonlySet<FailureKind> = new Set(["limited", "refused", "corrupt", "unreachable"]);

function verdictOf({ kind, upstreamStatus }: Failure): Verdict {
  if (!UPSTREAM_KINDS.has(kind)) return { cache: "none" };
  return { cache: "failed", kind, ...(upstreamStatus === undefined ? {} : { status: upstreamStatus }) };
}

/** Text that may stand in a quoted-string: visible ASCII, bounded (the specification allows 4096 bytes of warnings). */
function quotable(text: string): string {
  return text
    .replace(/[^\x20-\x7e]/g, "?")
    .replace(/["\\]/g, "'")
    .slice(0, 300);
}
