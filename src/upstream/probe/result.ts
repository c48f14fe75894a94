/**
 * What a probe comes to, in one word, and what several words come to together. Pure.
 */
import { type Failure, isFailure } from "../../base/failure.ts";

/**
 * - `degraded`: pulls are answered, but something of what is configured for them is not well.
 * - `limited`: nothing is allowed before the limit's window turns.
 * - `unusable`: we could not get at our own credentials, so nobody was shown any.
 */
export type ProbeResult = "ok" | "degraded" | "limited" | "unreachable" | "unusable" | "refused";

/** From what passes by itself to what does not. */
export const RESULTS: readonly ProbeResult[] = ["ok", "degraded", "limited", "unreachable", "unusable", "refused"];

/** Of things that stand in for one another: endpoints, accounts. Refused only where all of them are. */
export function joined(results: readonly ProbeResult[]): ProbeResult {
  const [first] = results;
  if (first === undefined || results.every((one) => one === first)) return first ?? "ok";
  if (results.includes("ok") || results.includes("degraded")) return "degraded";
  return RESULTS.find((one) => results.includes(one)) ?? "ok";
}

/** Of things that each have to be well: upstreams. */
export function worst(results: readonly ProbeResult[]): ProbeResult {
  return RESULTS.findLast((one) => results.includes(one)) ?? "ok";
}

export function resultOf({ kind }: Failure): ProbeResult {
  if (kind === "limited") return "limited";
  if (kind === "invalid") return "unusable";
  return kind === "refused" || kind === "denied" ? "refused" : "unreachable";
}

/** What is no `Failure` is a bug, and stays one. */
export function toFailure(error: unknown): Failure {
  if (isFailure(error)) return error;
  throw error;
}
