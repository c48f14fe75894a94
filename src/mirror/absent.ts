/**
 * The answer that there is no such thing.
 */
import type { Absence } from "../upstream/upstream.ts";
import type { Verdict } from "./verdict.ts";

export interface AbsentAnswer {
  readonly absence: Absence;
  readonly verdict: Verdict;
}

/** @param remembered true where the upstream was not asked now, because it said so a moment ago. */
export function absent(absence: Absence, remembered: boolean): AbsentAnswer {
  return { absence, verdict: { cache: "absent", remembered } };
}
