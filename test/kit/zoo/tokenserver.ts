/**
 * Token servers (distribution, docs/content/spec/auth/token.md and oauth.md) and the gates that take their tokens.
 *
 * Strict: a token is good for the repositories it was given for, until it is expired, at the registry it was given for.
 */
import { randomBytes } from "node:crypto";
import { json, ociError } from "./answers.ts";
import type { Gate } from "./registry.ts";
import {
  type Account,
  type Answer,
  type Desk,
  findBasic,
  findBearer,
  isSameAccount,
  type Visit,
  type VisitKind,
} from "./visit.ts";

export interface TokenServerOptions {
  readonly host: string;
  readonly path: string;
  /** Another one in the question is refused; null: none is expected, and none is looked at. */
  readonly service: string | null;
  readonly accounts?: readonly Account[];
  /** Refresh tokens, and whose they are, where they can be exchanged by POST. */
  readonly identities?: Readonly<Record<string, Account>>;
  /** What a POST is answered where it cannot; default 405. */
  readonly post?: Answer;
  /** Undefined is whoever comes without a password. */
  readonly mayPull: (repository: string, account: Account | undefined) => boolean;
  /** A scope that is good for all repositories. */
  readonly scopeOfAll?: string;
  /** True: whoever is known gets a token for all they may pull, whatever the scope. */
  readonly ignoresScope?: boolean;
  readonly reply?: (token: string, account: Account | undefined) => object;
  /** Refuses whoever has no password; default they get a token as everybody. */
  readonly anonymous?: Answer;
  readonly wrongPassword?: Answer;
  /** Instead of a token for less than was asked for. */
  readonly denied?: Answer;
}

interface Grant {
  readonly mayPull: (repository: string) => boolean;
  expired: boolean;
}

/** A token as large as the JSON Web Tokens of the large registries are. */
const TOKEN_BYTES = 750;

export class TokenServer implements Desk {
  readonly #options: TokenServerOptions;
  readonly #grants = new Map<string, Grant>();

  constructor(options: TokenServerOptions) {
    this.#options = options;
  }

  get realm(): string {
    return `https://${this.#options.host}${this.#options.path}`;
  }

  /** Ends the life of every token that was given so far. */
  expireAll(): void {
    for (const grant of this.#grants.values()) grant.expired = true;
  }

  find(token: string | undefined): Grant | undefined {
    return token === undefined ? undefined : this.#grants.get(token);
  }

  kindOf(visit: Visit): VisitKind | undefined {
    return visit.path === this.#options.path ? "token" : undefined;
  }

  /** Its own passwords, and no token. */
  owns(authorization: string): boolean {
    return this.#options.accounts?.some((one) => isSameAccount(one, findBasic(authorization))) ?? false;
  }

  answer(visit: Visit): Answer {
    const { service, accounts = [], mayPull, scopeOfAll, ignoresScope, anonymous, denied } = this.#options;
    const {
      wrongPassword = ociError(401, "UNAUTHORIZED", "authentication required"),
      reply = (token: string) => ({ token, expires_in: 300, issued_at: new Date().toISOString() }),
    } = this.#options;
    if (visit.method === "POST") return this.#exchange(visit);
    if (visit.method !== "GET") return ociError(405, "UNSUPPORTED", "The operation is unsupported.");
    if (service !== null && visit.query.get("service") !== service)
      return ociError(400, "UNSUPPORTED", "unknown service");
    const shown = findBasic(visit.authorization);
    const account = accounts.find((one) => isSameAccount(one, shown));
    if (visit.authorization !== undefined && account === undefined) return wrongPassword;
    if (account === undefined && anonymous !== undefined) return anonymous;
    const scopes = visit.query.getAll("scope").flatMap((scope) => scope.split(" "));
    const wanted = repositoriesIn(scopes);
    if (denied !== undefined && wanted.some((name) => !mayPull(name, account))) return denied;
    const all = ignoresScope === true || (scopeOfAll !== undefined && scopes.includes(scopeOfAll));
    return json(reply(this.#grant(wanted, all, account), account));
  }

  takes(form: URLSearchParams): boolean {
    return this.#options.identities?.[form.get("refresh_token") ?? ""] !== undefined;
  }

  /** OAuth 2 as distribution has it (docs/content/spec/auth/oauth.md): a form, one `scope`, a refresh token. */
  #exchange({ form }: Visit): Answer {
    const { identities, post = ociError(405, "UNSUPPORTED", "The operation is unsupported."), service } = this.#options;
    if (identities === undefined) return post;
    if (form.get("grant_type") !== "refresh_token") return json({ error: "unsupported_grant_type" }, {}, 400);
    if (form.get("service") !== service) return json({ error: "invalid_request" }, {}, 400);
    const account = identities[form.get("refresh_token") ?? ""];
    if (account === undefined)
      return this.#options.wrongPassword ?? ociError(401, "UNAUTHORIZED", "authentication required");
    const wanted = repositoriesIn((form.get("scope") ?? "").split(" "));
    return json({ access_token: this.#grant(wanted, false, account) });
  }

  #grant(wanted: readonly string[], all: boolean, account: Account | undefined): string {
    const { mayPull } = this.#options;
    const token = randomBytes(TOKEN_BYTES).toString("base64url");
    const covers = (name: string) => (all || wanted.includes(name)) && mayPull(name, account);
    this.#grants.set(token, { mayPull: covers, expired: false });
    return token;
  }
}

function repositoriesIn(scopes: readonly string[]): string[] {
  return scopes.flatMap((scope) => /^repository:(.+):(?:.*,)?pull(?:,.*)?$/.exec(scope)?.[1] ?? []);
}

/** What a challenge is made of. `error` is as RFC 6750 §3.1 has it. */
export interface ChallengeParts {
  readonly realm: string;
  readonly repository: string | undefined;
  readonly error: "invalid_token" | "insufficient_scope" | undefined;
}

export interface BearerGateOptions {
  readonly tokens: TokenServer;
  readonly challenge: (parts: ChallengeParts) => string | readonly string[];
  /** What a 401 looks like, besides the challenge. */
  readonly unauthorized?: (repository: string | undefined) => Answer;
  /** Instead of a 401 for a token that is good, for something else. */
  readonly forbidden?: (repository: string) => Answer;
  /** Passwords that are taken here too. */
  readonly accounts?: readonly Account[];
  /** What is taken for a token though no token server gave it. */
  readonly bearers?: readonly string[];
  /** Needs no token. */
  readonly isOpen?: (repository: string, visit: Visit) => boolean;
}

/** distribution, registry/handlers/app.go. */
const UNAUTHORIZED = (repository: string | undefined) =>
  ociError(
    401,
    "UNAUTHORIZED",
    "authentication required",
    repository === undefined ? null : [{ Type: "repository", Class: "", Name: repository, Action: "pull" }],
  );

export function bearerGate(options: BearerGateOptions): Gate {
  const { tokens, challenge, unauthorized = UNAUTHORIZED, forbidden, accounts = [], bearers = [], isOpen } = options;
  const isPassword = (authorization: string | undefined) =>
    accounts.some((account) => isSameAccount(account, findBasic(authorization))) ||
    bearers.includes(findBearer(authorization) ?? "");
  return {
    owns: (authorization) => tokens.find(findBearer(authorization)) !== undefined || isPassword(authorization),
    refusal(visit, repository) {
      const { authorization } = visit;
      if (isPassword(authorization)) return undefined;
      if (repository !== undefined && isOpen?.(repository, visit) === true) {
        return undefined;
      }
      const grant = tokens.find(findBearer(authorization));
      const live = grant?.expired === false;
      if (live && (repository === undefined || grant.mayPull(repository))) return undefined;
      if (live && repository !== undefined && forbidden !== undefined) return forbidden(repository);
      const error = authorization === undefined ? undefined : live ? "insufficient_scope" : "invalid_token";
      const { status, headers, body } = unauthorized(repository);
      const said = challenge({ realm: tokens.realm, repository, error });
      return { status, body, headers: { ...headers, "www-authenticate": said } };
    },
  };
}

/** `scope="…"` and `error="…"`, as most write them. */
export function scopeAndError({ repository, error }: ChallengeParts): string {
  const scope = repository === undefined ? "" : `,scope="repository:${repository}:pull"`;
  return `${scope}${error === undefined ? "" : `,error="${error}"`}`;
}

export interface BasicGateOptions {
  readonly accounts: readonly Account[];
  readonly challenge: string;
  /** What a 401 looks like, besides the challenge. */
  readonly unauthorized?: Answer;
}

/** A registry without token server. */
export function basicGate({ accounts, challenge, unauthorized = UNAUTHORIZED(undefined) }: BasicGateOptions): Gate {
  const isPassword = (authorization: string | undefined) =>
    accounts.some((account) => isSameAccount(account, findBasic(authorization)));
  return {
    owns: isPassword,
    refusal({ authorization }) {
      if (isPassword(authorization)) return undefined;
      return { ...unauthorized, headers: { ...unauthorized.headers, "www-authenticate": challenge } };
    },
  };
}
