/**
 * Who talks where: each of our accounts at each endpoint of one upstream, built when they first meet.
 *
 * What an account knows (tokens, budget, refusals) is its own wherever it is shown; what an endpoint asks for (its challenge)
 * is learned for each of both.
 */
import type { Clock } from "../../base/clock.ts";
import type { Failure } from "../../base/failure.ts";
import type { Emitter } from "../../base/notices.ts";
import type { Repository } from "../../oci/reference.ts";
import { ANONYMOUS } from "../credentials/credential.ts";
import type { ExchangeOptions } from "../exchange/exchange.ts";
import { Sender } from "../exchange/sender.ts";
import type { BudgetQuestion, BudgetView, RateBudget } from "../limits/budget.ts";
import { addBudgets } from "../limits/budgets.ts";
import type { Rate } from "../limits/rate.ts";
import type { Transport } from "../network/transport.ts";
import type { UpstreamNotices } from "../notices.ts";
import type { UpstreamOptions } from "../options.ts";
import { type Account, anonymousAccount, openAccounts } from "./account.ts";
import { chooseAccount, eligible, fallbacks } from "./accounts.ts";
import { Authorizer } from "./authorizer.ts";
import { Guests } from "./guests.ts";
import { judgeRealm } from "./realm.ts";

export interface Dealing {
  readonly account: Account;
  /** What the account may ask there. */
  readonly budget: RateBudget;
  readonly sender: Sender;
  readonly exchange: ExchangeOptions;
}

/** Accounts that were of no use for a question, and why. */
export type Passed = ReadonlyMap<Account, Failure>;

export interface Choice {
  readonly dealing: Dealing;
  /** Why the accounts of the repository are not shown, so that the absence another finds is none. */
  readonly instead: Failure | undefined;
}

interface Candidates {
  readonly accounts: readonly Account[];
  readonly instead: Failure | undefined;
}

export interface DealingsParts {
  readonly notices: Emitter<UpstreamNotices>;
  readonly clock: Clock;
  readonly signature: string;
  readonly transport: Transport;
  /** Our own limit, where there is one. */
  readonly rate: Rate | undefined;
  /** For a token server's answer. */
  readonly timeoutMs: number;
  /** Where our credentials are for, by `url`. */
  readonly home: URL;
}

export class Dealings {
  readonly #name: string;
  readonly #options: UpstreamOptions;
  readonly #parts: DealingsParts;
  readonly #accounts: readonly Account[];
  readonly #anonymous: Account;
  readonly #built = new Map<Account, Map<string, Dealing>>();

  constructor(name: string, options: UpstreamOptions, parts: DealingsParts) {
    this.#name = name;
    this.#options = options;
    this.#parts = parts;
    const surroundings = {
      clock: parts.clock,
      refusedMs: options.refusedMs,
      judged: (account: string, verdict: "refused" | "accepted") =>
        parts.notices.emit("accountJudged", { upstream: name, account, verdict }),
    };
    this.#accounts = openAccounts(options.credentials, surroundings);
    this.#anonymous = anonymousAccount(surroundings);
  }

  /**
   * @param passed accounts that were of no use for this question already.
   * @throws Failure `refused` or `limited` where no account may ask it now.
   */
  choose(endpoint: URL, repository: Repository, question: BudgetQuestion, passed: Passed = new Map()): Choice {
    const { accounts, instead } = this.#candidates(endpoint, repository, passed);
    const candidates = accounts.map((account) => ({
      account: account.name,
      repositories: account.repositories,
      findTrouble: () => account.findTrouble(endpoint),
      waitMs: () => account.budgetAt(endpoint).waitMs(question),
      left: account.budgetAt(endpoint).view.remaining,
      of: account,
    }));
    return { dealing: this.#meet(chooseAccount(this.#name, candidates).of, endpoint), instead };
  }

  /** Would `choose` find one that is worth asking as? */
  hasOther(endpoint: URL, repository: Repository, question: BudgetQuestion, passed: Passed): boolean {
    return this.#candidates(endpoint, repository, passed).accounts.some(
      (account) =>
        !passed.has(account) &&
        account.findTrouble(endpoint) === undefined &&
        account.budgetAt(endpoint).waitMs(question) === 0,
    );
  }

  /** What all accounts that are of use may together still ask of a repository at an endpoint. */
  budget(endpoint: URL, repository: Repository): BudgetView {
    const { accounts } = this.#candidates(endpoint, repository, new Map());
    const good = accounts.filter((account) => account.findTrouble(endpoint) === undefined);
    return addBudgets((good.length > 0 ? good : accounts).map((account) => account.budgetAt(endpoint).view));
  }

  /** Are our credentials for that place too? */
  isShownAt(endpoint: URL): boolean {
    return isSameSite(this.#parts.home, endpoint);
  }

  #candidates(endpoint: URL, repository: Repository, passed: Passed): Candidates {
    const found = this.isShownAt(endpoint) ? eligible(this.#accounts, repository) : [];
    if (found.length === 0) return { accounts: [this.#anonymous], instead: undefined };
    const whyNot = (account: Account) => {
      const failure = passed.get(account);
      // One that has to wait is still the one for the repository.
      return account.findTrouble(endpoint) ?? (failure?.kind === "limited" ? undefined : failure);
    };
    const [instead] = found.map(whyNot);
    if (found.every((account) => whyNot(account) !== undefined)) {
      const accounts = fallbacks(this.#accounts, repository).filter((account) => whyNot(account) === undefined);
      if (accounts.length > 0) return { accounts, instead };
    }
    const left = found.filter((account) => !passed.has(account));
    return { accounts: left.length > 0 ? left : found, instead: undefined };
  }

  #meet(account: Account, endpoint: URL): Dealing {
    const dealings = this.#built.get(account) ?? new Map<string, Dealing>();
    this.#built.set(account, dealings);
    const dealing = dealings.get(endpoint.href) ?? this.#build(account, endpoint);
    dealings.set(endpoint.href, dealing);
    return dealing;
  }

  #build(account: Account, endpoint: URL): Dealing {
    const { notices, clock, signature, transport, rate, timeoutMs } = this.#parts;
    const name = this.#name;
    const { secrets } = account;
    const budget = account.budgetAt(endpoint);
    const sender = new Sender({
      ...{ name, endpoint, secrets, transport, notices, clock, signature, budget, rate },
      account: account.name,
    });
    const authorizerAt = (origin: URL, own: boolean) =>
      new Authorizer({
        ...{ name, endpoint: origin, sender, secrets, clock, timeoutMs },
        source: own ? account.source : ANONYMOUS,
        tokenRealm: own ? this.#options.tokenRealm : null,
        tokens: own ? account.tokens : account.guestTokens,
        refusals: account.refusalsAt(endpoint),
      });
    const authorizer = authorizerAt(endpoint, true);
    const exchange = {
      name,
      endpoint,
      sender,
      authorizer,
      guests: new Guests((origin) => authorizerAt(origin, false)),
    };
    return { account, budget, sender, exchange };
  }
}

/** As for token servers: one host, one registered domain, or one known registry; nothing in the clear that is not so at home. */
function isSameSite(home: URL, endpoint: URL): boolean {
  if (endpoint.protocol !== home.protocol && endpoint.protocol !== "https:") return false;
  return "ask" in judgeRealm({ realm: endpoint.href, endpoint: home, tokenRealm: null, withCredential: true });
}
