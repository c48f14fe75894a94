/**
 * What one account may still ask of one upstream.
 */

/** As far as the upstream said, and as we counted since. */
export interface BudgetView {
  /** Pulls in a window; undefined where the upstream names no limit. */
  readonly limit: number | undefined;
  /** What is left of it, what is being asked for just now taken off. */
  readonly remaining: number | undefined;
  readonly windowMs: number | undefined;
  /** Epoch milliseconds before which nothing that counts is asked; 0 where nothing holds. */
  readonly closedUntil: number;
  /** What the upstream counts by (`docker-ratelimit-source`), where it says so. */
  readonly source: string | undefined;
}
