/**
 * Who talks where: each of our accounts at each endpoint of one upstream, built when they first meet.
 *
 * What an account knows (tokens, budget, refusals) is its own wherever it is shown; what an endpoint asks for (its challenge)
 * is learned for each of both.
 */
import type { Clock } from "../../base/clock.ts";
import type { Emitter } from "../../base/notices.ts";
import type { Repository } from "../../oci/reference.ts";
import { ANONYMOUS } from "../credentials/credential.ts";
import type { ExchangeOptions } from "../exchange/exchange.ts";
import { Sender } from "../exchange/sender.ts";
import type { BudgetQuestion, BudgetView } from "../limits/budget.ts";
import { addBudgets } from "../limits/budgets.ts";
import type { Rate } from "../limits/rate.ts";
import type { Transport } from "../network/transport.ts";
import type { UpstreamNotices } from "../notices.ts";
import type { UpstreamOptions } from "../options.ts";
import { type Account, anonymousAccount, openAccounts } from "./account.ts";
import { chooseAccount, eligible } from "./accounts.ts";
import { Authorizer } from "./authorizer.ts";
import { Guests } from "./guests.ts";

export interface Dealing {
  readonly account: Account;
  readonly sender: Sender;
  readonly exchange: ExchangeOptions;
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
    const surroundings = { clock: parts.clock, refusedMs: options.refusedMs };
    this.#accounts = openAccounts(options.credentials, surroundings);
    this.#anonymous = anonymousAccount(surroundings);
  }

  /** @throws Failure `refused` or `limited` where no account may ask it now. */
  choose(endpoint: URL, repository: Repository, question: BudgetQuestion): Dealing {
    const candidates = this.#candidates(repository).map((account) => ({
      account: account.name,
      repositories: account.repositories,
      findRefusal: () => account.findRefusal(),
      waitMs: () => account.waitMs(question),
      left: account.left,
      of: account,
    }));
    return this.#meet(chooseAccount(this.#name, candidates).of, endpoint);
  }

  /** What all accounts together may still ask of a repository. */
  budget(repository: Repository): BudgetView {
    return addBudgets(this.#candidates(repository).map((account) => account.budget.view));
  }

  #candidates(repository: Repository): readonly Account[] {
    const found = eligible(this.#accounts, repository);
    return found.length > 0 ? found : [this.#anonymous];
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
    const { secrets, budget } = account;
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
        refusals: own ? account.refusals : undefined,
      });
    const authorizer = authorizerAt(endpoint, true);
    const exchange = {
      name,
      endpoint,
      sender,
      authorizer,
      guests: new Guests((origin) => authorizerAt(origin, false)),
    };
    return { account, sender, exchange };
  }
}
