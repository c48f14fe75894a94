/**
 * One of our accounts at one upstream, at all of its endpoints: what it holds, the tokens it was given, what it may still ask,
 * and whether it was refused.
 */
import type { Clock } from "../base/clock.ts";
import type { Failure } from "../base/failure.ts";
import { type BudgetQuestion, RateBudget } from "./budget.ts";
import { ANONYMOUS, type CredentialSource } from "./credentials/credential.ts";
import type { AccountOptions } from "./options.ts";
import { Secrets } from "./secrets.ts";
import { Tokens } from "./tokens.ts";

const REFUSED_MS = 10_000;

export interface AccountSurroundings {
  readonly clock: Clock;
  readonly refusedMs?: number | undefined;
  /** Called once for each time in which a refusal is believed. */
  readonly onRefused: (account: string, failure: Failure) => void;
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
  readonly budget: RateBudget;
  readonly #surroundings: AccountSurroundings;
  #refusal: { readonly failure: Failure; readonly until: number } | undefined;

  constructor(name: string, { source, repositories }: AccountOptions, surroundings: AccountSurroundings) {
    this.name = name;
    this.source = source;
    this.repositories = repositories;
    this.#surroundings = surroundings;
    this.tokens = new Tokens(surroundings.clock);
    this.guestTokens = new Tokens(surroundings.clock);
    this.budget = new RateBudget(surroundings.clock);
  }

  /** Pulls that are left; undefined where no limit is known. */
  get left(): number | undefined {
    return this.budget.view.remaining;
  }

  waitMs(question: BudgetQuestion): number {
    return this.budget.waitMs(question);
  }

  /** Its credentials were refused: nobody shows them again for a while. */
  refused(failure: Failure): void {
    const { clock, refusedMs = REFUSED_MS, onRefused } = this.#surroundings;
    if (this.findRefusal() === undefined) onRefused(this.name, failure);
    this.#refusal = { failure, until: clock.now() + refusedMs };
  }

  findRefusal(): Failure | undefined {
    if (this.#refusal === undefined) return undefined;
    const { clock, refusedMs = REFUSED_MS } = this.#surroundings;
    const leftMs = this.#refusal.until - clock.now();
    if (leftMs > 0 && leftMs <= refusedMs) return this.#refusal.failure;
    this.#refusal = undefined;
    return undefined;
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
