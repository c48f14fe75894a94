/**
 * Errors on their way to another process: what a `Failure` knows of itself survives, and its cause as text.
 */
import { Failure, type FailureKind, messageOf } from "../base/failure.ts";

export interface ErrorText {
  readonly kind: FailureKind | undefined;
  readonly message: string;
  readonly stack?: string | undefined;
  readonly code?: string | undefined;
  /** As JSON: whatever it is, it can be sent. */
  readonly detail?: string | undefined;
  readonly cause?: string | undefined;
  readonly retryAfterMs?: number | undefined;
  readonly timedOut?: boolean;
  readonly upstreamStatus?: number | undefined;
}

export function textOfError(error: unknown): ErrorText {
  if (!(error instanceof Failure)) {
    return { kind: undefined, message: messageOf(error), stack: error instanceof Error ? error.stack : undefined };
  }
  const { kind, message, code, retryAfterMs, timedOut, upstreamStatus } = error;
  const cause = error.cause === undefined ? undefined : messageOf(error.cause);
  return { kind, message, code, detail: jsonOf(error.detail), cause, retryAfterMs, timedOut, upstreamStatus };
}

export function errorOfText(text: ErrorText): Error {
  const { kind, message, code, detail, cause, retryAfterMs, timedOut, upstreamStatus, stack } = text;
  if (kind === undefined) {
    const error = new Error(message);
    if (stack !== undefined) error.stack = stack;
    return error;
  }
  return new Failure(kind, message, {
    ...(code === undefined ? {} : { code }),
    ...(detail === undefined ? {} : { detail: JSON.parse(detail) as unknown }),
    ...(cause === undefined ? {} : { cause: new Error(cause) }),
    ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
    ...(timedOut === undefined ? {} : { timedOut }),
    ...(upstreamStatus === undefined ? {} : { upstreamStatus }),
  });
}

function jsonOf(value: unknown): string | undefined {
  try {
    return JSON.stringify(value);
  } catch {
    return undefined;
  }
}
