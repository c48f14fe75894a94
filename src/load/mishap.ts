/**
 * What goes wrong with one request of a run, by a kind that can be counted. It is a result of the measurement: only
 * what ends the run as a whole is a `Failure`.
 */
import { errnoOf, messageOf } from "../base/failure.ts";

export type MishapKind =
  | "connect"
  | "tls"
  | "timeout"
  | "reset"
  | "short body"
  | "wrong digest"
  | "bad answer"
  | `status ${number}`;

export class Mishap extends Error {
  override readonly name = "Mishap";
  readonly kind: MishapKind;
  /** After how long the server wants to be asked again, where it says so. */
  readonly retryAfterMs: number | undefined;

  constructor(kind: MishapKind, message: string, retryAfterMs?: number) {
    super(message);
    this.kind = kind;
    this.retryAfterMs = retryAfterMs;
  }
}

/** The run has ended; what was under way is neither done nor wrong. */
export class Stopped extends Error {
  override readonly name = "Stopped";

  constructor() {
    super("the run has ended");
  }
}

const CONNECT =
  /^(?:ECONNREFUSED|ENOTFOUND|EAI_\w+|EHOSTUNREACH|ENETUNREACH|EHOSTDOWN|EADDRNOTAVAIL|EMFILE|ENFILE|ETIMEDOUT|EACCES|EPERM)$/;
const TLS =
  /^(?:ERR_TLS|ERR_SSL|ERR_OSSL|CERT_|DEPTH_ZERO|SELF_SIGNED|UNABLE_TO|ERROR_IN_CERT|HOSTNAME_MISMATCH|EPROTO)/;

/** @param answered whether the answer had begun */
export function mishapOf(error: unknown, answered: boolean): Mishap {
  if (error instanceof Mishap) return error;
  const code = errnoOf(error) ?? "";
  const text = [messageOf(error).split("\n", 1)[0] ?? "", code].find((part) => part !== "") ?? "unknown";
  if (CONNECT.test(code)) return new Mishap("connect", text);
  if (/wrong version number/.test(text))
    return new Mishap("tls", "the server does not speak TLS there; is it http://?");
  if (TLS.test(code)) return new Mishap("tls", text);
  if (/^(?:HPE_|Z_|ERR_ZLIB|ERR__|ZSTD_)/.test(code)) return new Mishap("bad answer", text);
  return answered ? new Mishap("short body", `the answer broke off: ${text}`) : new Mishap("reset", text);
}

/** `Retry-After` in seconds or as a date (RFC 9110 §10.2.3). */
export function retryAfterOf(value: string | undefined, now: number): number | undefined {
  if (value === undefined) return undefined;
  if (/^\d{1,7}$/.test(value)) return Number(value) * 1000;
  const date = Date.parse(value);
  return Number.isNaN(date) ? undefined : Math.max(0, date - now);
}
