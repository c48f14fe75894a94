/**
 * What goes wrong on the way to an upstream, told as a `Failure` with a message that says what to do.
 *
 * The invariant: nothing of undici, of our wire, of a socket or of TLS leaves this folder but as a `cause`, and no message holds a
 * query string or a secret.
 */
import { errnoOf, Failure, messageOf } from "../../base/failure.ts";
import { AddressRefused } from "../network/addresses.ts";
import { WireFault } from "../wire/fault.ts";
import { excerptOf, findErrorText } from "./redact.ts";

const UNTRUSTED = new Set([
  "DEPTH_ZERO_SELF_SIGNED_CERT",
  "SELF_SIGNED_CERT_IN_CHAIN",
  "UNABLE_TO_VERIFY_LEAF_SIGNATURE",
  "UNABLE_TO_GET_ISSUER_CERT",
  "UNABLE_TO_GET_ISSUER_CERT_LOCALLY",
  "CERT_UNTRUSTED",
]);
const TIMEOUTS = new Set([
  "UND_ERR_CONNECT_TIMEOUT",
  "UND_ERR_HEADERS_TIMEOUT",
  "UND_ERR_BODY_TIMEOUT",
  "WIRE_CONNECT_TIMEOUT",
  "WIRE_HEADERS_TIMEOUT",
  "WIRE_BODY_TIMEOUT",
  "ETIMEDOUT",
]);

/** An error of a connection to `url`, or of a body from there. */
export function failureOf(error: unknown, upstream: string, url: URL): Failure {
  if (error instanceof Failure) return error;
  const code = codeOf(error);
  const host = url.host;
  return new Failure("unreachable", `${upstream}: ${explain(error, code, upstream, host, url)}`, {
    cause: error,
    timedOut: TIMEOUTS.has(code),
  });
}

function explain(error: unknown, code: string, upstream: string, host: string, url: URL): string {
  const setting = `upstreams.${upstream}`;
  if (error instanceof AddressRefused) return error.message;
  if (UNTRUSTED.has(code)) {
    return `the certificate of ${host} is signed by no known authority (${code}); set ${setting}.tls.ca to the authority's certificate`;
  }
  switch (code) {
    case "ENOTFOUND":
    case "EAI_AGAIN":
    case "EAI_NODATA":
      return `the name ${url.hostname} does not resolve (${code}); check ${setting}.url and the DNS`;
    case "ECONNREFUSED":
      return `${host} refuses connections; check ${setting}.url and whether the registry runs`;
    case "EHOSTUNREACH":
    case "ENETUNREACH":
      return `there is no route to ${host} (${code})`;
    case "UND_ERR_CONNECT_TIMEOUT":
    case "WIRE_CONNECT_TIMEOUT":
    case "ETIMEDOUT":
      return `${host} did not accept a connection in time`;
    case "UND_ERR_HEADERS_TIMEOUT":
    case "WIRE_HEADERS_TIMEOUT":
      return `${host} did not answer in time`;
    case "UND_ERR_BODY_TIMEOUT":
    case "WIRE_BODY_TIMEOUT":
      return `${host} stopped sending`;
    case "ERR_TLS_CERT_ALTNAME_INVALID":
      return `the certificate of ${host} is for another name; check ${setting}.url`;
    case "CERT_HAS_EXPIRED":
      return `the certificate of ${host} has expired`;
    case "CERT_NOT_YET_VALID":
      return `the certificate of ${host} is not valid yet; check the clock of this machine`;
    case "EPROTO":
    case "ERR_SSL_WRONG_VERSION_NUMBER":
    case "ERR_SSL_PACKET_LENGTH_TOO_LONG":
      return `${host} does not speak TLS; if it serves plain HTTP, set ${setting}.url to http://…`;
    case "UND_ERR_SOCKET":
    case "WIRE_CLOSED":
    case "ECONNRESET":
    case "EPIPE":
      return `${host} closed the connection`;
    case "UND_ERR_DESTROYED":
    case "UND_ERR_CLOSED":
    case "WIRE_SHUT":
      return "this upstream is closed";
    case "UND_ERR_HEADERS_OVERFLOW":
    case "WIRE_HEAD_TOO_LARGE":
      return `${host} sent too large headers`;
    case "WIRE_MALFORMED":
      return `${host} does not speak proper HTTP: ${messageOf(error)}`;
    default:
      if (code.startsWith("HPE_")) return `${host} does not speak HTTP (${code})`;
      return `the connection to ${host} failed: ${code === "" ? excerptOf(messageOf(error)) : code}`;
  }
}

/** The code that tells most: of the error, of what it wraps, of the first of several attempts. */
export function codeOf(error: unknown): string {
  if (error instanceof AggregateError) {
    const inner = error.errors.map(errnoOf).find((code) => code !== undefined);
    if (inner !== undefined) return inner;
  }
  const code = errnoOf(error);
  if (code !== undefined) return code;
  return error instanceof Error && error.cause !== undefined && error.cause !== error ? codeOf(error.cause) : "";
}

/**
 * True where a kept connection was closed under our request, so that asking once more is likely to do; it is safe, as
 * nothing is sent that changes the upstream (a POST asks for a token), and no headers came.
 */
export function wasStaleConnection(error: unknown): boolean {
  if (error instanceof WireFault) return error.stale;
  if (typeof error !== "object" || error === null) return false;
  const code = errnoOf(error);
  // Ended by RST, the socket's own error comes through; of a TLS handshake it names no system call.
  if (code === "ECONNRESET" || code === "EPIPE") {
    return "syscall" in error && (error.syscall === "read" || error.syscall === "write");
  }
  if (code !== "UND_ERR_SOCKET") return false;
  if (!("socket" in error) || typeof error.socket !== "object" || error.socket === null) return false;
  return "bytesRead" in error.socket && typeof error.socket.bytesRead === "number" && error.socket.bytesRead > 0;
}

export interface ErrorAnswer {
  readonly status: number;
  readonly contentType: string | undefined;
  readonly body: string;
  readonly retryAfterMs: number | undefined;
  /** Takes our secrets out of the upstream's text. */
  readonly hide: (text: string) => string;
}

/** An answer that is neither success nor absence. */
export function failureOfAnswer(upstream: string, answer: ErrorAnswer): Failure {
  const { status, retryAfterMs } = answer;
  const text = findErrorText(answer.body, answer.contentType, answer.hide);
  const options = {
    upstreamStatus: status,
    ...(text === undefined ? {} : { detail: { upstream: text } }),
    ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
  };
  const said = text === undefined ? "" : `: ${text}`;
  if (status === 429) return new Failure("limited", `${upstream} limits our requests${said}`, options);
  // Asked for from where our copy ends, so the blob there is another than the one that was begun here.
  if (status === 416) return new Failure("corrupt", `${upstream} does not have the range that was asked for`, options);
  return new Failure("unreachable", `${upstream} answered ${status}${said}`, options);
}

/** What is not asked because the budget does not allow it; nothing was sent. */
export function failureOfBudget(
  upstream: string,
  { limit, remaining }: { readonly limit: number | undefined; readonly remaining: number | undefined },
  waitMs: number,
): Failure {
  const counted = limit !== undefined && remaining !== undefined;
  const left = counted ? `: ${remaining} of ${limit} pulls left` : " limits our requests";
  const message = `${upstream}${left}; asked again in ${spanText(waitMs)}`;
  return new Failure("limited", message, { retryAfterMs: Math.ceil(waitMs) });
}

function spanText(ms: number): string {
  if (ms < 90_000) return `${Math.ceil(ms / 1000)} s`;
  return ms < 5_400_000 ? `${Math.ceil(ms / 60_000)} min` : `${Math.round(ms / 360_000) / 10} h`;
}

/** Our credentials were not good enough. */
export function refusedBy(name: string, cause?: Failure): Failure {
  return new Failure("refused", `${name} refuses the credentials of this mirror; check upstreams.${name}.credentials`, {
    ...(cause === undefined ? {} : { cause, detail: cause.detail }),
    ...(cause?.upstreamStatus === undefined ? {} : { upstreamStatus: cause.upstreamStatus }),
  });
}

/** `Retry-After` (RFC 9110 §10.2.3) in milliseconds from `now`, at most a day; undefined where absent or malformed. */
export function findRetryAfter(header: string | undefined, now: number): number | undefined {
  if (header === undefined) return undefined;
  const text = header.trim();
  const delayMs = /^\d{1,9}$/.test(text)
    ? Number(text) * 1000
    : /[A-Za-z]/.test(text)
      ? Date.parse(text) - now
      : Number.NaN;
  return Number.isFinite(delayMs) ? Math.min(Math.max(delayMs, 0), 24 * 3_600_000) : undefined;
}

/** Leading number of `100;w=21600`. */
export function findCount(header: string | undefined): number | undefined {
  const digits = header === undefined ? undefined : /^\s*(\d{1,9})/.exec(header)?.[1];
  return digits === undefined ? undefined : Number(digits);
}
