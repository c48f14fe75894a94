/**
 * One thing that the doctor looked at: what it is like, and what to do where it is not well.
 */
export type State = "ok" | "warn" | "fail" | "skipped";

export interface Finding {
  /** What was looked at, in a word or two. */
  readonly check: string;
  readonly state: State;
  /** One line; of `skipped`, why. */
  readonly says: string;
  /** The next step; what to put where. May have several lines. */
  readonly next?: string;
}

export const ok = (check: string, says: string): Finding => ({ check, state: "ok", says });
export const skipped = (check: string, why: string): Finding => ({ check, state: "skipped", says: why });
export const warn = (check: string, says: string, next: string): Finding => ({ check, state: "warn", says, next });
export const fail = (check: string, says: string, next: string): Finding => ({ check, state: "fail", says, next });
