/**
 * One of our accounts at one upstream: what it holds, the tokens it was given, what it may still ask at each endpoint, and
 * whether it is of use now: not refused, and with something to show.
 */
import type { Clock } from "../../base/clock.ts";
import { type Failure, isFailure } from "../../base/failure.ts";
import { unlessAborted } from "../../base/singleflight.ts";
import { ANONYMOUS, type Asking, type CredentialSource, type Held } from "../credentials/credential.ts";
import { RateBudget } from "../limits/budget.ts";
import type { AccountOptions } from "../options.ts";
import { Refusals } from "./refusals.ts";
import { Secrets } from "./secrets.ts";
import { Tokens } from "./tokens.ts";

export interface AccountSurroundings {
  readonly clock: Clock;
  readonly refusedMs?: number | undefined;
  /** Told of each refusal, and of the first acceptance after it. */
  readonly judged?: (account: string, verdict: "refused" | "accepted") => void;
}

/** So long an account whose helper, file or cloud failed is passed over while there is another. */
const UNHELD_MS = 10_000;

export class Account {
  /** Unlike any other's of the upstream. */
  readonly name: string;
  /** Under the account's name. */
  readonly source: CredentialSource;
  readonly repositories: readonly string[];
  readonly secrets = new Secrets();
  readonly tokens: Tokens;
  /** Apart from ours: a host that a redirect led to must never be handed what our account obtained. */
  readonly guestTokens: Tokens;
  /** What became of its credentials where they were shown. */
  readonly #refusals = new Map<string, Refusals>();
  readonly #surroundings: AccountSurroundings;
  /** By origin: who has the same content at two places counts at each. */
  readonly #budgets = new Map<string, RateBudget>();
  #unheld: { readonly failure: Failure; readonly at: number } | undefined;

  constructor(name: string, { source, repositories }: AccountOptions, surroundings: AccountSurroundings) {
    const { clock, refusedMs } = surroundings;
    this.#surroundings = surroundings;
    this.name = name;
    this.source = {
      account: name,
      hold: (asking) => this.#hold(source, asking),
      refused: (held) => source.refused(held),
    };
    this.repositories = repositories;
    this.tokens = new Tokens(clock, refusedMs);
    this.guestTokens = new Tokens(clock, refusedMs);
  }

  budgetAt({ origin }: URL): RateBudget {
    const budget = this.#budgets.get(origin) ?? new RateBudget(this.#surroundings.clock);
    this.#budgets.set(origin, budget);
    return budget;
  }

  /** What it held was refused there, or it had nothing to show, a moment ago. */
  findTrouble(endpoint: URL): Failure | undefined {
    return this.refusalsAt(endpoint).findRefusal() ?? this.#findUnheld();
  }

  #findUnheld(): Failure | undefined {
    const unheld = this.#unheld;
    const ageMs = unheld === undefined ? 0 : this.#surroundings.clock.now() - unheld.at;
    return ageMs >= 0 && ageMs < UNHELD_MS ? unheld?.failure : undefined;
  }

  async #hold(source: CredentialSource, asking: Asking): Promise<Held | undefined> {
    try {
      const held = await unlessAborted(source.hold(asking), asking.signal);
      this.#unheld = undefined;
      return held;
    } catch (error) {
      // Who leaves says nothing of it; a helper that took all the time there was is of no use now.
      const left = asking.signal.aborted && !(isFailure(error) && error.timedOut);
      if (isFailure(error) && !left) this.#unheld = { failure: error, at: this.#surroundings.clock.now() };
      throw error;
    }
  }

  /** Apart for each endpoint: one that does not know our password says nothing of the others. */
  refusalsAt({ origin }: URL): Refusals {
    const { clock, refusedMs, judged } = this.#surroundings;
    const judge = (verdict: "refused" | "accepted") => judged?.(this.name, verdict);
    const refusals = this.#refusals.get(origin) ?? new Refusals(clock, refusedMs, judge);
    this.#refusals.set(origin, refusals);
    return refusals;
  }
}

/** As the configuration has them, each with a name of its own. */
export function openAccounts(accounts: readonly AccountOptions[], surroundings: AccountSurroundings): Account[] {
  const seen = new Map<string, number>();
  return accounts.map((options) => {
    const { account } = options.source;
    const count = (seen.get(account) ?? 0) + 1;
    seen.set(account, count);
    return new Account(count === 1 ? account : `${account}#${count}`, options, surroundings);
  });
}

export function anonymousAccount(surroundings: AccountSurroundings): Account {
  return new Account(ANONYMOUS.account, { source: ANONYMOUS, repositories: ["**"] }, surroundings);
}
