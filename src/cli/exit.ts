/**
 * Exit codes, and which failure ends with which: the command line's side of what `http/reply.ts` is for the wire.
 */
import { type Failure, type FailureKind, isFailure, messageOf } from "../base/failure.ts";

export const EXIT = {
  done: 0,
  failed: 1,
  badUsage: 2,
  notFound: 3,
  refused: 4,
} as const;

const CODES: Readonly<Record<FailureKind, number>> = {
  invalid: EXIT.badUsage,
  unauthenticated: EXIT.refused,
  denied: EXIT.refused,
  unknown: EXIT.notFound,
  unsupported: EXIT.badUsage,
  limited: EXIT.failed,
  refused: EXIT.refused,
  corrupt: EXIT.failed,
  unreachable: EXIT.failed,
  overloaded: EXIT.failed,
  storage: EXIT.failed,
};

export function exitCodeOf(failure: Failure): number {
  return CODES[failure.kind];
}

/** What a person reads: the message of what was foreseen, the stack of what was not. */
export function errorText(error: unknown): string {
  if (isFailure(error) || isSystemError(error)) return messageOf(error);
  return error instanceof Error ? `this is a bug in wharfinger\n${error.stack ?? error.message}` : String(error);
}

/** A port in use, a directory that may not be written: the system's own words are clear enough. */
function isSystemError(error: unknown): boolean {
  return error instanceof Error && "syscall" in error && "code" in error;
}
