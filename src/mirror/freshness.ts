/**
 * Whether what was stored some time ago may be served now. Pure; the clock is a parameter.
 *
 *   age:   0 ……… tags ……… staleWhileRevalidate ……… staleIfError
 *          use   |  use and refresh  |  revalidate; stale only if the upstream fails  |  revalidate
 */

/** All in milliseconds, as configured under `upstreams.<name>.freshness`. */
export interface FreshnessPolicy {
  readonly tags: number;
  readonly staleWhileRevalidate: number;
  readonly staleIfError: number;
  readonly notFound: number;
}

export type Freshness = "use" | "useAndRefresh" | "revalidate";

/** @param checkedAt when the upstream last confirmed it. A time in the future (the clock was set back) proves nothing. */
export function judgeFreshness(checkedAt: number, policy: FreshnessPolicy, now: number): Freshness {
  const age = now - checkedAt;
  if (age < 0) return "revalidate";
  if (age < policy.tags) return "use";
  return age < policy.staleWhileRevalidate ? "useAndRefresh" : "revalidate";
}

/** May it be served although the upstream could not confirm it? */
export function mayServeStale(checkedAt: number, policy: FreshnessPolicy, now: number): boolean {
  return now - checkedAt < policy.staleIfError;
}
