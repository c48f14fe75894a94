/**
 * The one line that says how a run is going.
 */

import { bytesText, countText, durationText, rateText } from "../config/figures.ts";
import type { Tally } from "./tally.ts";

export interface Sight {
  readonly elapsedMs: number;
  readonly pulls: number;
  readonly requests: number;
  readonly bytes: number;
  readonly errors: number;
  /** Of pulls, or of manifests while no pull has finished. */
  readonly p99Ms: number | undefined;
}

export function sightOf(tally: Tally): Sight {
  const { elapsedMs, pulls, requests, bytes, errorCount } = tally;
  const p99Ms = (tally.quantiles("pull") ?? tally.quantiles("manifest"))?.p99;
  return { elapsedMs, pulls, requests, bytes, errors: errorCount, p99Ms };
}

/** Rates are of the time since the sight before, so that a change is seen. */
export function progressLine(now: Sight, before: Sight | undefined): string {
  const seconds = Math.max(0.001, (now.elapsedMs - (before?.elapsedMs ?? 0)) / 1000);
  const rate = (of: "requests" | "bytes") => (now[of] - (before?.[of] ?? 0)) / seconds;
  return [
    `${Math.round(now.elapsedMs / 1000)} s`,
    `${countText(now.pulls)} pulls`,
    `${rateText(rate("requests"))} req/s`,
    `${bytesText(rate("bytes"))}/s`,
    `p99 ${now.p99Ms === undefined ? "–" : durationText(now.p99Ms)}`,
    `${countText(now.errors)} errors`,
  ].join(" · ");
}
