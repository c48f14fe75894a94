/**
 * An error as fields of a log line: what was expected to fail by kind and message, a bug with its stack.
 *
 * Messages and stacks pass `redact`; `detail` is left out, for nobody has looked at what is in it.
 */
import { errnoOf, isFailure, messageOf } from "../base/failure.ts";
import { redact } from "./redact.ts";

export interface ErrorFields {
  /** Of a `Failure`. */
  readonly kind?: string;
  /** Of any other error. */
  readonly type?: string;
  readonly message: string;
  readonly cause?: string;
  readonly code?: string;
  readonly stack?: string;
}

export function errorFields(error: unknown): ErrorFields {
  const message = redact(messageOf(error));
  if (isFailure(error)) {
    const { cause } = error;
    return cause === undefined ? { kind: error.kind, message } : { kind: error.kind, message, cause: causeText(cause) };
  }
  if (!(error instanceof Error)) return { type: typeof error, message };
  return { type: error.name, message, stack: redact(error.stack ?? "") };
}

function causeText(cause: unknown): string {
  const code = errnoOf(cause);
  const message = redact(messageOf(cause));
  return code === undefined || message.includes(code) ? message : `${code}: ${message}`;
}
