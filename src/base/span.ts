/**
 * A stretch of time that something counts for, by a clock that may be set back.
 *
 * The invariant: it never lasts longer than it was made for. Left is at most what there was at first; where more is, the
 * clock was put back to before its beginning, and it is over.
 */
export interface Span {
  /** Epoch milliseconds at which it was made. */
  readonly since: number;
  /** Epoch milliseconds at which it ends. */
  readonly until: number;
}

/** Over from the beginning. */
export const OVER: Span = { since: 0, until: 0 };

export function spanOf(now: number, ms: number): Span {
  return { since: now, until: now + ms };
}

/** Milliseconds that are left; 0 where it is over, or where there is none. */
export function leftOf(span: Span | undefined, now: number): number {
  if (span === undefined) return 0;
  const leftMs = span.until - now;
  return leftMs <= 0 || leftMs > span.until - span.since ? 0 : leftMs;
}
