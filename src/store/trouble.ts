/**
 * Trouble with the disk, as a `Failure`.
 */
import { Failure, isFailure, messageOf } from "../base/failure.ts";

export function storageFailure(message: string, cause: unknown): Failure {
  if (isFailure(cause)) return cause;
  return new Failure("storage", `${message}: ${messageOf(cause)}`, { cause });
}
