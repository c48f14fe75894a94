/**
 * What goes wrong on a connection of our own, with a code that `trouble.ts` puts into words. Errors of the socket and of
 * TLS come through as they are, but for a reset before an answer: that is an end like any other.
 */
import { errnoOf } from "../../base/failure.ts";

export type WireCode =
  /** The other side ended the connection before its answer was whole. */
  | "WIRE_CLOSED"
  /** What came is not HTTP/1, or not unambiguous. */
  | "WIRE_MALFORMED"
  | "WIRE_HEAD_TOO_LARGE"
  | "WIRE_CONNECT_TIMEOUT"
  | "WIRE_HEADERS_TIMEOUT"
  | "WIRE_BODY_TIMEOUT"
  /** A proxy wants something of us, or of its rules, that asking again does not change. */
  | "WIRE_PROXY_REFUSED"
  /** We closed all connections. */
  | "WIRE_SHUT";

export class WireFault extends Error {
  override readonly name = "WireFault";
  readonly code: WireCode;
  /** True where a kept connection was ended under a request that it had not begun to answer. */
  readonly stale: boolean;

  constructor(code: WireCode, message: string, stale = false, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
    this.stale = stale;
  }
}

export function malformed(what: string): WireFault {
  return new WireFault("WIRE_MALFORMED", what);
}

/** An end without a goodbye: whether the connection was stale is for us to say, who know what it has brought. */
export function isReset(error: unknown): boolean {
  return ["ECONNRESET", "EPIPE"].includes(errnoOf(error) ?? "");
}
