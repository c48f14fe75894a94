/**
 * What one account may still ask of one upstream: what the upstream said last, and what we asked since.
 *
 * The invariants: pulls that are on their way are taken off already, so that several at once cannot overshoot; where the
 * budget is used up, or the upstream told us to wait, nothing is sent; when a wait is over, one question goes first and the
 * others follow its answer. No wait outlives a day, or the clock being set back; in one of more than `RELOOK_MS` one question
 * in so long looks whether it still holds, unless the wait is for pulls of our own to leave the window.
 */
import type { Clock } from "../../base/clock.ts";
import type { Method } from "../network/transport.ts";
import type { RequestKind } from "../notices.ts";
import { DAY_MS, findLimits, judgeRefusal, type LimitsSaid, type Refusal } from "./ratelimit.ts";

/** As far as the upstream said, and as we counted since. */
export interface BudgetView {
  /** Pulls in a window; undefined where the upstream names no limit. */
  readonly limit: number | undefined;
  /** What is left of it, what is being asked for just now taken off; undefined where nobody knows. */
  readonly remaining: number | undefined;
  readonly windowMs: number | undefined;
  /** Epoch milliseconds when the upstream last said what remains. */
  readonly saidAt: number | undefined;
  /** Epoch milliseconds before which nothing that counts is asked; 0 where nothing holds. */
  readonly closedUntil: number;
  /** What the upstream counts by (`docker-ratelimit-source`), where it says so. */
  readonly source: string | undefined;
}

/** How a question is counted: a manifest GET is a pull. */
export interface BudgetQuestion {
  readonly kind: RequestKind;
  readonly method: Method;
}

export interface BudgetAnswer {
  readonly status: number;
  /** Names in lower case. */
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  /** Beginning of the body of a status from 400. */
  readonly errorBody: string;
  /** Epoch milliseconds. */
  readonly now: number;
}

/** A question on its way: exactly one of the two is called, once. */
export interface Asked {
  answered(answer: BudgetAnswer): void;
  /** No answer came; whether it was counted nobody knows, so it is. */
  failed(): void;
}

/** What is used up is looked for again after so long where nobody says when the window turns: HEAD costs no pull. */
export const RELOOK_MS = 900_000;
/** While another's answer is awaited: soon. */
const SOON_MS = 500;
/** Clocks are adjusted by this much without anything being wrong. */
const SLEW_MS = 1000;
/** So many of our own pulls are remembered, for when they leave the window. */
const MAX_PULLS = 1000;

const BACKOFF = {
  pulls: { firstMs: RELOOK_MS, mostMs: RELOOK_MS },
  rate: { firstMs: 250, mostMs: 30_000 },
  abuse: { firstMs: 1000, mostMs: 300_000 },
} as const;

/** How long to keep away after the `streak`-th refusal in a row (from 0): what was said, or doubling, half of it at random. */
export function waitAfter(refusal: Refusal, streak: number, random: number): number {
  const { firstMs, mostMs } = BACKOFF[refusal.of];
  const doubled = Math.min(mostMs, firstMs * 2 ** Math.min(streak, 20));
  const jittered = refusal.of === "pulls" ? doubled : doubled * (0.5 + random / 2);
  if (refusal.waitMs === undefined) return Math.ceil(jittered);
  // A wait of a millisecond that is said again and again is none.
  return Math.min(DAY_MS, refusal.of === "pulls" ? refusal.waitMs : Math.max(refusal.waitMs, Math.ceil(jittered)));
}

/**
 * When there is something again of a budget that is used up. Where all of it was ours, the oldest pull tells when it leaves
 * the window; where others took part of it, nobody knows.
 * @param pulls when our own pulls of this window were made, the oldest first.
 */
export function reopensIn(said: LimitsSaid, pulls: readonly number[], now: number): number {
  if (said.resetMs !== undefined && said.resetMs > 0) return Math.min(DAY_MS, said.resetMs);
  const oldest = pulls[0];
  if (oldest === undefined || said.windowMs === undefined) return RELOOK_MS;
  const leavesInMs = Math.min(DAY_MS, Math.max(SOON_MS, oldest + said.windowMs - now + SLEW_MS));
  return isOurs(said, pulls) ? leavesInMs : Math.min(leavesInMs, RELOOK_MS);
}

/** Was all that there is in a window spent by us? */
function isOurs({ limit, resetMs }: LimitsSaid, pulls: readonly number[]): boolean {
  return limit !== undefined && pulls.length >= limit && !(resetMs !== undefined && resetMs > 0);
}

type Scope = "pulls" | "all";

/** A time in which nothing is asked, and after it one question that has to be answered first. */
interface Hold {
  readonly since: number;
  readonly until: number;
  /** When a question may look whether it still holds; moves on with each that does. */
  lookAt: number;
  /** The question that went first. */
  probe: object | undefined;
}

interface Said extends LimitsSaid {
  readonly at: number;
  /** How many questions had been sent by then. */
  readonly number: number;
}

export class RateBudget {
  readonly #clock: Clock;
  readonly #random: () => number;
  readonly #holds = new Map<Scope, Hold>();
  readonly #pulls: number[] = [];
  #said: Said | undefined;
  #onTheWay = 0;
  /** Pulls that were sent since `#said` and never told what they left. */
  #unanswered = 0;
  #asked = 0;
  #refusedAt = 0;
  #streak = 0;

  /** @param random 0 ≤ x < 1. */
  constructor(clock: Clock, random: () => number = Math.random) {
    this.#clock = clock;
    this.#random = random;
  }

  /** 0: may be asked now. Otherwise nothing is sent, and it may be tried again in so many milliseconds. */
  waitMs(question: BudgetQuestion): number {
    const now = this.#clock.now();
    let waitMs = this.#heldMs("all", now, true);
    if (question.kind !== "manifest") return waitMs;
    // HEAD looks at no cost.
    waitMs = Math.max(waitMs, this.#heldMs("pulls", now, question.method === "HEAD"));
    if (waitMs > 0 || question.method === "HEAD") return waitMs;
    const remaining = this.#remaining(now);
    // What is on its way has it; its answer says what is left.
    return remaining !== undefined && remaining <= 0 ? SOON_MS : 0;
  }

  /** Called right before a question is sent. */
  begin({ kind, method }: BudgetQuestion): Asked {
    this.#asked += 1;
    const number = this.#asked;
    const pull = kind === "manifest" && method === "GET";
    const asked = {};
    for (const [scope, hold] of this.#holds) {
      if (hold.probe !== undefined || (scope === "pulls" && kind !== "manifest")) continue;
      hold.probe = asked;
      hold.lookAt = this.#clock.now() + RELOOK_MS;
    }
    if (pull) this.#onTheWay += 1;
    let open = true;
    const end = () => {
      if (!open) return false;
      open = false;
      if (pull) this.#onTheWay -= 1;
      return true;
    };
    return {
      answered: (answer) => {
        if (end()) this.#take(answer, asked, number, pull);
      },
      failed: () => {
        if (!end()) return;
        for (const hold of this.#holds.values()) if (hold.probe === asked) hold.probe = undefined;
        if (!pull) return;
        this.#unanswered += 1;
        this.#closeIfUsedUp(this.#clock.now());
      },
    };
  }

  get view(): BudgetView {
    const now = this.#clock.now();
    const held = (["all", "pulls"] as const).filter((scope) => this.#heldMs(scope, now) > SOON_MS);
    const remaining = held.includes("pulls") ? 0 : this.#remaining(now);
    return {
      limit: this.#said?.limit,
      remaining: remaining === undefined ? undefined : Math.max(0, remaining),
      windowMs: this.#said?.windowMs,
      saidAt: remaining === undefined ? undefined : this.#said?.at,
      closedUntil: Math.max(0, ...held.map((scope) => this.#holds.get(scope)?.until ?? 0)),
      source: this.#said?.source,
    };
  }

  #take(answer: BudgetAnswer, asked: object, number: number, pull: boolean): void {
    const { status, headers, errorBody, now } = answer;
    const limits = findLimits(headers, now);
    if (limits !== undefined) this.#believe(limits, number, now);
    if (pull && status < 300) this.#notePull(now);
    if (status === 429) {
      this.#refused(judgeRefusal(headers, errorBody, now), number, now);
    } else {
      if (number > this.#refusedAt) this.#streak = 0;
      // The answer to who we are, or to what is not there, says nothing of the quota.
      const tells = limits !== undefined || status < 300;
      if (this.#holds.get("all")?.probe === asked) this.#holds.delete("all");
      if (this.#holds.get("pulls")?.probe === asked && tells) this.#reopen(limits);
    }
    for (const hold of this.#holds.values()) if (hold.probe === asked) hold.probe = undefined;
    if (this.#heldMs("pulls", now) === 0) this.#closeIfUsedUp(now);
  }

  /** Answers overtake one another: of one that was on its way when another was believed, only bad news counts. */
  #believe(limits: LimitsSaid, number: number, now: number): void {
    const last = this.#said;
    const late = last !== undefined && number <= last.number;
    const remaining =
      late && last.remaining !== undefined && limits.remaining !== undefined
        ? Math.min(last.remaining, limits.remaining)
        : (limits.remaining ?? last?.remaining);
    this.#said = {
      limit: limits.limit ?? last?.limit,
      remaining,
      windowMs: limits.windowMs ?? last?.windowMs,
      resetMs: limits.resetMs,
      source: limits.source ?? last?.source,
      at: now,
      number: late ? last.number : this.#asked,
    };
    if (!late) this.#unanswered = 0;
  }

  #refused(refusal: Refusal, number: number, now: number): void {
    const scope: Scope = refusal.of === "pulls" ? "pulls" : "all";
    const held = this.#holds.get(scope);
    // Of several that were under way together the first one's refusal says it all.
    const first = number > this.#refusedAt;
    if (first) this.#refusedAt = this.#asked;
    if (first) this.#streak += 1;
    const waitMs =
      refusal.of === "pulls" && refusal.waitMs === undefined
        ? reopensIn({ ...(this.#said ?? UNSAID), remaining: 0 }, this.#ownPulls(now), now)
        : waitAfter(refusal, this.#streak - 1, this.#random());
    if (!first && held !== undefined && held.until >= now + waitMs) return;
    this.#hold(scope, waitMs, now, refusal.of === "pulls" && refusal.waitMs === undefined);
    if (scope === "pulls" && this.#said !== undefined) this.#said = { ...this.#said, remaining: 0, at: now };
  }

  #closeIfUsedUp(now: number): void {
    const said = this.#said;
    const remaining = this.#remaining(now);
    if (said === undefined || remaining === undefined || remaining + this.#onTheWay > 0) return;
    this.#hold("pulls", reopensIn(said, this.#ownPulls(now), now), now, true);
  }

  /** @param counted the wait is by what we counted and not by what was said. */
  #hold(scope: Scope, waitMs: number, now: number, counted: boolean): void {
    const ours = counted && this.#said !== undefined && isOurs(this.#said, this.#ownPulls(now));
    const lookAt = ours ? Number.POSITIVE_INFINITY : now + RELOOK_MS;
    this.#holds.set(scope, { since: now, until: now + waitMs, lookAt, probe: undefined });
  }

  /** The window turned, as far as anybody knows. Without a word of limits there is none any more for what was asked. */
  #reopen(limits: LimitsSaid | undefined): void {
    this.#holds.delete("pulls");
    if (limits !== undefined || this.#said === undefined) return;
    this.#said = { ...this.#said, remaining: undefined };
  }

  /** Below zero where more was sent than is left. Undefined: nobody said, or long ago. */
  #remaining(now: number): number | undefined {
    const said = this.#said;
    if (said?.remaining === undefined || this.#holds.has("pulls")) return undefined;
    const ageMs = now - said.at;
    if (ageMs < -SLEW_MS || ageMs >= Math.min(said.resetMs || DAY_MS, said.windowMs ?? DAY_MS)) return undefined;
    return said.remaining - this.#onTheWay - this.#unanswered;
  }

  /** @param mayLook whether it still holds, where it is time to. */
  #heldMs(scope: Scope, now: number, mayLook = false): number {
    const hold = this.#holds.get(scope);
    if (hold === undefined) return 0;
    const leftMs = hold.until - now;
    // More than it ever was: the clock was set back, and nobody knows how much is left of it.
    if (leftMs > 0 && leftMs <= hold.until - hold.since + SLEW_MS) {
      return mayLook && hold.probe === undefined && now >= hold.lookAt ? 0 : leftMs;
    }
    return hold.probe === undefined ? 0 : SOON_MS;
  }

  #notePull(now: number): void {
    if (this.#said === undefined) return;
    this.#pulls.push(now);
    if (this.#pulls.length > MAX_PULLS) this.#pulls.shift();
  }

  /** Those of the window that ends now, the oldest first. */
  #ownPulls(now: number): readonly number[] {
    const windowMs = this.#said?.windowMs ?? DAY_MS;
    const kept = this.#pulls.filter((at) => at > now - windowMs && at <= now + SLEW_MS).sort((a, b) => a - b);
    this.#pulls.splice(0, this.#pulls.length, ...kept);
    return kept;
  }
}

const UNSAID: LimitsSaid = {
  limit: undefined,
  remaining: undefined,
  windowMs: undefined,
  resetMs: undefined,
  source: undefined,
};
