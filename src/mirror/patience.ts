/**
 * How long a client waits for an upstream when something stored could be served instead. The work goes on behind a client
 * whose patience ends, and the next one finds what it brought.
 */
import type { Clock } from "../base/clock.ts";
import { unlessAborted } from "../base/singleflight.ts";
import type { Caller } from "./caller.ts";

export const PATIENCE_MS = 2000;

/** Undefined where patience ended first. */
export function withPatience<T>(clock: Clock, work: Promise<T>, caller: Caller): Promise<T | undefined> {
  work.catch(() => {});
  return new Promise((resolve, reject) => {
    const cancel = clock.after(PATIENCE_MS, () => resolve(undefined));
    unlessAborted(work, caller.signal).then(resolve, reject).finally(cancel);
  });
}
