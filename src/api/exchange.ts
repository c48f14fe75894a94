/**
 * What is asked and answered, whatever carries it: HTTP, or a call in the same process.
 */
import type { Readable } from "node:stream";

export interface ApiRequest {
  readonly method: string;
  readonly path: string;
  readonly query: URLSearchParams;
  readonly contentType: string | undefined;
  readonly body: Readable;
  /** Aborts when whoever asks has left. */
  readonly signal: AbortSignal;
}

export interface ApiAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | number>>;
  /** Whoever gets a stream reads it to its end or destroys it, which ends the work. */
  readonly body: string | Readable;
  /** Behind a 500 that tells nothing: for whoever runs the operation in the own process. */
  readonly bug?: unknown;
}
