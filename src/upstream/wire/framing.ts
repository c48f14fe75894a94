/**
 * Where the body of an answer ends (RFC 9112 §6.3): by its length, by its chunks, or with the connection; pure.
 *
 * An answer that two readers could see end at different places is refused.
 */
import { ChunkedFraming } from "./chunked.ts";
import { malformed } from "./fault.ts";
import type { Head } from "./head.ts";

export interface Framing {
  /** True where nothing but content comes until the end. */
  readonly plain: boolean;
  /** Whether the connection is at a known place after the end. */
  readonly reusable: boolean;
  /** So many of the next bytes are content; 0 where `frame` must look at the next byte, and at the end. */
  readonly content: number;
  readonly ended: boolean;
  /** So many bytes of content were taken, at most `content`. */
  took(count: number): void;
  /** Reads on where no content is. @returns how far it came. @throws WireFault */
  frame(bytes: Uint8Array, from: number): number;
  /** Whether the body is whole if the connection ends here. */
  endOfConnection(): boolean;
}

class LengthFraming implements Framing {
  readonly plain = true;
  readonly reusable = true;
  content: number;

  constructor(bytes: number) {
    this.content = bytes;
  }

  get ended(): boolean {
    return this.content === 0;
  }

  took(count: number): void {
    this.content -= count;
  }

  frame(_bytes: Uint8Array, from: number): number {
    return from;
  }

  endOfConnection(): boolean {
    return this.ended;
  }
}

class ConnectionFraming implements Framing {
  readonly plain = true;
  readonly reusable = false;
  readonly content = Number.MAX_SAFE_INTEGER;
  readonly ended = false;

  took(): void {}

  frame(_bytes: Uint8Array, from: number): number {
    return from;
  }

  endOfConnection(): boolean {
    return true;
  }
}

/** @throws WireFault where the answer contradicts itself, or is in a coding that was not asked for. */
export function framingOf(method: string, { minor, status, headers }: Head): Framing {
  const coding = headers["transfer-encoding"];
  const length = headers["content-length"];
  if (coding !== undefined) {
    if (length !== undefined) throw malformed("both a length and a transfer coding");
    if (minor === 0) throw malformed("a transfer coding in HTTP/1.0");
    if (typeof coding !== "string" || coding.toLowerCase() !== "chunked") throw malformed("an unknown transfer coding");
  }
  if (length !== undefined && (typeof length !== "string" || !/^\d{1,15}$/.test(length))) {
    throw malformed("a malformed or repeated length");
  }
  if (method === "HEAD" || status === 204 || status === 304) return new LengthFraming(0);
  if (coding !== undefined) return new ChunkedFraming();
  return length === undefined ? new ConnectionFraming() : new LengthFraming(Number(length));
}
