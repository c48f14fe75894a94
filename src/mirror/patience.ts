/**
 * How long a client waits for an upstream: briefly when something stored could be served instead, and never so long that it
 * gives up by itself. The work goes on behind a client whose time ends, and the next one finds what it brought.
 */
import type { Clock } from "../base/clock.ts";
import { Failure } from "../base/failure.ts";
import { unlessAborted } from "../base/singleflight.ts";
import type { Caller } from "./caller.ts";

export const PATIENCE_MS = 2000;
/** Clients give up on an answer's beginning after 30 s. */
const MOST_MS = 25_000;

/** Undefined where patience ended first. */
export function withPatience<T>(clock: Clock, work: Promise<T>, caller: Caller): Promise<T | undefined> {
  work.catch(() => {});
  return new Promise((resolve, reject) => {
    const cancel = clock.after(PATIENCE_MS, () => resolve(undefined));
    unlessAborted(work, caller.signal).then(resolve, reject).finally(cancel);
  });
}

/** So long is an upstream taken for silent that ended a client's patience: more than one question takes that is not answered. */
const QUIET_MS = 30_000;

export function silenceOf(upstream: string): Failure {
  const silence = { timedOut: true, retryAfterMs: QUIET_MS };
  return new Failure("unreachable", `${upstream} does not answer in time`, silence);
}

/** However many questions a piece of work asks. @throws Failure `unreachable` when its time ends first. */
export function inTime<T>(clock: Clock, upstream: string, work: Promise<T>): Promise<T> {
  const inTime = new Promise<T>((resolve, reject) => {
    const cancel = clock.after(MOST_MS, () =>
      reject(new Failure("unreachable", `${upstream} did not answer in time`, { timedOut: true })),
    );
    work.then(resolve, reject).finally(cancel);
  });
  // Whoever waits may have left by then.
  inTime.catch(() => {});
  return inTime;
}
