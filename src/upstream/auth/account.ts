/**
 * One of our accounts at one upstream, at all of its endpoints: what it holds, the tokens it was given, what it may still ask,
 * and whether it was refused.
 */
import type { Clock } from "../../base/clock.ts";
import type { Failure } from "../../base/failure.ts";
import { ANONYMOUS, type CredentialSource } from "../credentials/credential.ts";
import { type BudgetQuestion, RateBudget } from "../limits/budget.ts";
import type { AccountOptions } from "../options.ts";
import { Refusals } from "./refusals.ts";
import { Secrets } from "./secrets.ts";
import { Tokens } from "./tokens.ts";

export interface AccountSurroundings {
  readonly clock: Clock;
  readonly refusedMs?: number | undefined;
}

export class Account {
  /** Unlike any other's of the upstream. */
  readonly name: string;
  readonly source: CredentialSource;
  readonly repositories: readonly string[];
  readonly secrets = new Secrets();
  readonly tokens: Tokens;
  /** Apart from ours: a host that a redirect led to must never be handed what our account obtained. */
  readonly guestTokens: Tokens;
  /** What became of its credentials where they were shown. */
  readonly refusals: Refusals;
  readonly budget: RateBudget;

  constructor(name: string, { source, repositories }: AccountOptions, { clock, refusedMs }: AccountSurroundings) {
    this.name = name;
    this.source = source;
    this.repositories = repositories;
    this.tokens = new Tokens(clock, refusedMs);
    this.guestTokens = new Tokens(clock, refusedMs);
    this.refusals = new Refusals(clock, refusedMs);
    this.budget = new RateBudget(clock);
  }

  /** Pulls that are left; undefined where no limit is known. */
  get left(): number | undefined {
    return this.budget.view.remaining;
  }

  waitMs(question: BudgetQuestion): number {
    return this.budget.waitMs(question);
  }

  /** What it held was refused: nobody shows that again for a while. */
  findRefusal(): Failure | undefined {
    return this.refusals.findRefusal();
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
