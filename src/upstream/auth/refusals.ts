/**
 * What became of showing one account's credentials: what was refused of late, what has proved good, what is being tried.
 *
 * The invariants: a credential that was refused is not shown again for `refusedMs`; one that has not proved good is
 * shown by one request at a time, so that a wrong password costs one attempt and not one for each waiting client (which
 * locks accounts); and each trouble is told once in that time.
 */
import { LRUCache } from "lru-cache";
import type { Clock } from "../../base/clock.ts";
import type { Failure } from "../../base/failure.ts";
import { unlessAborted } from "../../base/singleflight.ts";
import { leftOf, type Span, spanOf } from "../../base/span.ts";
import type { Held } from "../credentials/credential.ts";
import { DEFAULT_REFUSED_MS } from "../options.ts";

const MAX_TOLD = 100;
const MAX_TRIALS = 100;
const REFUSAL = "refusal";

export type Judged = (verdict: "refused" | "accepted") => void;

/** One showing of a credential; to be ended, whatever comes of it. */
export interface Attempt {
  /** What came of it, where that tells anything; the first call counts. */
  end(verdict: "good" | "none"): void;
}

interface Refused {
  readonly shown: string;
  readonly failure: Failure;
  /** While it is not shown again. */
  readonly span: Span;
}

export class Refusals {
  readonly #clock: Clock;
  readonly #refusedMs: number;
  readonly #judged: Judged;
  #refused: Refused | undefined;
  #proved: { readonly shown: string; readonly span: Span } | undefined;
  readonly #trials = new Map<string, Promise<void>>();
  readonly #told = new LRUCache<string, Span>({ max: MAX_TOLD });

  /** @param judged is told of each refusal that is news, and of the first acceptance after it. */
  constructor(clock: Clock, refusedMs = DEFAULT_REFUSED_MS, judged: Judged = () => {}) {
    this.#clock = clock;
    this.#judged = judged;
    this.#refusedMs = refusedMs;
  }

  /** The refusal that still counts: of `held`, or of what the account held last. */
  findRefusal(held?: Held): Failure | undefined {
    const refused = this.#refused;
    if (refused === undefined || leftOf(refused.span, this.#clock.now()) === 0) return undefined;
    return held !== undefined && refused.shown !== textOf(held) ? undefined : refused.failure;
  }

  /** Remembers a refusal of `held`. True where that is news. */
  note(failure: Failure, held: Held): boolean {
    const shown = textOf(held);
    if (this.#proved?.shown === shown) this.#proved = undefined;
    // Others of the same moment come in later: the time counts from the first.
    if (this.findRefusal() !== undefined && this.#refused?.shown === shown) return false;
    this.#refused = { shown, failure, span: spanOf(this.#clock.now(), this.#refusedMs) };
    this.#told.delete(REFUSAL);
    this.#judged("refused");
    return true;
  }

  /** Has it just been good, so that a refusal is of what was asked for and not of who asked? */
  isGoodOfLate(held: Held): boolean {
    const proved = this.#proved;
    return proved?.shown === textOf(held) && leftOf(proved.span, this.#clock.now()) > 0;
  }

  /** Has it been good ever, and not been refused since? */
  hasProved(held: Held): boolean {
    return this.#proved?.shown === textOf(held);
  }

  /**
   * Before a credential is shown. Waits for the verdict of another request that shows it for the first time.
   * @throws Failure the refusal; or the signal's reason.
   */
  async enter(held: Held, signal?: AbortSignal): Promise<Attempt> {
    const shown = textOf(held);
    const trial = this.#judge(held, shown);
    if (trial !== undefined) {
      await unlessAborted(trial, signal);
      // Where it brought no verdict, all go: waiting for one another would make a line of those who wait for a dead host.
      this.#judge(held, shown);
    }
    return this.#begin(shown);
  }

  /** True once in `refusedMs` for whatever this is; the kinds are ours, and few: no upstream may choose one. */
  isDue(kind: string): boolean {
    return this.mayTell(`due ${kind}`);
  }

  /** True where this trouble has not been told in `refusedMs`; of a refusal, where that one has not been. */
  mayTell(trouble: string = REFUSAL): boolean {
    const now = this.#clock.now();
    if (leftOf(this.#told.get(trouble), now) > 0) return false;
    this.#told.set(trouble, spanOf(now, this.#refusedMs));
    return true;
  }

  /** It was taken where nothing was asked for. */
  noteGood(held: Held): void {
    this.#prove(textOf(held));
  }

  #prove(shown: string): void {
    this.#proved = { shown, span: spanOf(this.#clock.now(), this.#refusedMs) };
    if (this.#refused !== undefined) this.#judged("accepted");
    this.#refused = undefined;
  }

  #judge(held: Held, shown: string): Promise<void> | undefined {
    const refusal = this.findRefusal(held);
    if (refusal !== undefined) throw refusal;
    return this.#proved?.shown === shown ? undefined : this.#trials.get(shown);
  }

  #begin(shown: string): Attempt {
    let isOver = false;
    let release = () => {};
    if (this.#proved?.shown !== shown && !this.#trials.has(shown) && this.#trials.size < MAX_TRIALS) {
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#trials.set(shown, promise);
      release = () => {
        this.#trials.delete(shown);
        resolve();
      };
    }
    return {
      end: (verdict) => {
        if (isOver) return;
        isOver = true;
        if (verdict === "good") {
          this.#prove(shown);
        }
        release();
      },
    };
  }
}

/** Tells two credentials apart; a secret. */
export function textOf(held: Held): string {
  return held.kind === "basic"
    ? JSON.stringify([held.username, held.password])
    : JSON.stringify([held.kind, held.token]);
}

/** A 403 to a password may mean the password (ECR: expired) or this one repository. */
export function isAboutTheRepository(errorBody: string): boolean {
  return /"DENIED"/.test(errorBody) && !saysExpired(errorBody);
}

/**
 * As ECR does: "Your authorization token has expired. Reauthenticate and try again." A sentence, with spaces: ECR names
 * repositories in its refusals, and one may be called `team/expired`.
 */
export function saysExpired(errorBody: string): boolean {
  return /authorization token has expired|reauthenticate and try again/i.test(errorBody);
}
