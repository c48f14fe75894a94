/**
 * What a fill does when things change around it. Pure.
 */
import { isFailure } from "../base/failure.ts";

const MIB = 1024 * 1024;

/** Nobody waits for this fill any more: finish it, or stop it after a grace period? */
export function planAbandoned(receivedBytes: number, sizeBytes: number | undefined): "finish" | "stop" {
  if (sizeBytes === undefined) return receivedBytes > 0 ? "finish" : "stop";
  const missing = sizeBytes - receivedBytes;
  return missing <= 64 * MIB || receivedBytes * 4 >= sizeBytes ? "finish" : "stop";
}

export interface BrokenFill {
  readonly error: unknown;
  /** Bytes that are written already. */
  readonly receivedBytes: number;
  /** Resumptions since the last one that brought at least `PROGRESS_BYTES`. */
  readonly fruitless: number;
}

/** A resumption that brings less counts as fruitless. */
export const PROGRESS_BYTES = 64 * 1024;
const MAX_FRUITLESS = 3;

/** After a break: in how many milliseconds to ask the upstream for the rest; undefined to give up. */
export function planResumption(broken: BrokenFill): number | undefined {
  // Nothing received: whoever waits can still be told the truth, and the next request tries afresh.
  if (broken.receivedBytes === 0) return undefined;
  if (!isFailure(broken.error, "unreachable")) return undefined;
  if (broken.fruitless >= MAX_FRUITLESS) return undefined;
  return 100 * 4 ** broken.fruitless;
}

export interface RangeSituation {
  /** First byte the client wants. */
  readonly startByte: number;
  readonly visibleBytes: number;
  readonly bytesPerSecond: number;
}

const NEAR_BYTES = 16 * MIB;
const PATIENCE_SECONDS = 2;

/** A client wants bytes that the running fill has not reached: wait for it, or ask the upstream for that range? */
export function planRange(situation: RangeSituation): "follow" | "pass" {
  const ahead = situation.startByte - situation.visibleBytes;
  if (ahead <= NEAR_BYTES) return "follow";
  return ahead <= situation.bytesPerSecond * PATIENCE_SECONDS ? "follow" : "pass";
}
