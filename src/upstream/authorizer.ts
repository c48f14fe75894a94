/**
 * What to put into `Authorization` for one registry: what we hold, or what its token server gives for it.
 *
 * Learns from the challenges it sees, so that from the second repository on no request is wasted on a 401. A challenge
 * is answered at most once per request, and only by a realm that `judgeRealm` lets have our credential.
 */
import { Failure, isFailure } from "../base/failure.ts";
import type { Repository } from "../oci/reference.ts";
import { type Challenge, chooseChallenge } from "./challenge.ts";
import type { Credential } from "./options.ts";
import { judgeRealm } from "./realm.ts";
import { redactUrl } from "./redact.ts";
import type { Grant, Token, TokenRequest, Tokens } from "./tokens.ts";
import { type Absence, isAbsence } from "./upstream.ts";

export interface Authorization {
  /** The header's value; a secret. */
  readonly header: string;
  /** Held: ours, as it is. Granted: from a token server. */
  readonly source: "held" | "granted";
  readonly tokenRequest?: TokenRequest;
  readonly token?: Token;
  /** True where asking the token server again would bring the same. */
  readonly fresh: boolean;
}

/** Asks a token server, with `Authorization: Basic` where given. */
export type AskTokenServer = (url: URL, basic: string | undefined) => Promise<Buffer | Absence>;

export interface AuthorizerOptions {
  /** The upstream's name, for messages. */
  readonly name: string;
  readonly endpoint: URL;
  readonly credential: Credential | undefined;
  readonly tokenRealm: string | null;
  readonly tokens: Tokens;
  readonly ask: AskTokenServer;
  /** Takes our secrets out of a text of the upstream's. */
  readonly hide: (text: string) => string;
  readonly onTrouble: (message: string, detail?: unknown) => void;
}

export class Authorizer {
  readonly #options: AuthorizerOptions;
  #challenge: Challenge | undefined;

  constructor(options: AuthorizerOptions) {
    this.#options = options;
  }

  /**
   * What to send before any challenge; undefined where nothing is known to be wanted, or where what is known no longer
   * helps: the registry's own challenge decides then. Rejects with the signal's reason only.
   */
  async prepare(repository: Repository, signal: AbortSignal): Promise<Authorization | undefined> {
    const { credential } = this.#options;
    if (credential !== undefined && "token" in credential) return held(`Bearer ${credential.token}`);
    const challenge = this.#challenge;
    if (challenge === undefined) return undefined;
    if (challenge.scheme === "basic") return credential === undefined ? undefined : held(basicOf(credential));
    try {
      const request = this.#requestFor(challenge, repository);
      // A denial here is of our guess.
      const grant = await this.#obtain(request, signal);
      return isAbsence(grant) ? undefined : granted(request, grant);
    } catch (error) {
      // A token server that is slow until our own time is up is as little use as one that fails.
      const left = signal.aborted && !(isFailure(signal.reason) && signal.reason.timedOut);
      if (!left && this.#challenge === challenge) this.#challenge = undefined;
      if (signal.aborted) throw error;
      return undefined;
    }
  }

  /**
   * Answers a 401. `repository` is undefined where the answer came from a host that a redirect led to: its names are not
   * ours. Absence where there is nothing (more) to offer.
   * @throws Failure `refused` where what we hold was not good enough.
   */
  async answer(
    challenges: readonly Challenge[],
    repository: Repository | undefined,
    used: Authorization | undefined,
    signal: AbortSignal,
  ): Promise<Authorization | Absence> {
    const { credential, name } = this.#options;
    const challenge = chooseChallenge(challenges);
    // Who took our password once and now wants a token is followed: registries change their minds.
    const wantsToken = challenge?.scheme === "bearer" && credential !== undefined && "username" in credential;
    if (used?.source === "held" && !wantsToken) throw refusedBy(name);
    if (challenge === undefined) return { absent: "denied" };
    if (challenge.scheme === "basic") {
      if (credential === undefined || "token" in credential) return { absent: "denied" };
      this.#challenge = challenge;
      return held(basicOf(credential));
    }
    const request = this.#requestFor(challenge, repository, true);
    this.#challenge = challenge;
    if (used?.token !== undefined && used.tokenRequest !== undefined) {
      if (used.fresh && sameRequest(used.tokenRequest, request)) return { absent: "denied" };
      this.#options.tokens.forget(used.tokenRequest, used.token);
    }
    const grant = await this.#obtain(request, signal);
    return isAbsence(grant) ? grant : granted(request, grant);
  }

  #requestFor(challenge: Challenge, repository: Repository | undefined, verbatim = false): TokenRequest {
    const { credential, endpoint, tokenRealm, name, hide } = this.#options;
    const realm = challenge.parameters.get("realm") ?? "";
    const verdict = judgeRealm({ realm, endpoint, tokenRealm, withCredential: credential !== undefined });
    if ("refuse" in verdict) {
      const url = URL.parse(realm);
      const shown = url === null ? undefined : hide(redactUrl(url));
      const message = `${name}: no token is asked for: ${verdict.refuse}`;
      this.#options.onTrouble(message, { realm: shown });
      throw new Failure("refused", `${message}; if that is its token server, set upstreams.${name}.tokenRealm`, {
        ...(shown === undefined ? {} : { detail: { realm: shown } }),
      });
    }
    const scopes = (challenge.parameters.get("scope") ?? "").split(" ").filter(Boolean);
    return {
      realm: verdict.ask,
      service: challenge.parameters.get("service"),
      scopes: repository === undefined ? scopes : scopesFor(scopes, repository, verbatim),
    };
  }

  #obtain(request: TokenRequest, signal: AbortSignal): Promise<Grant | Absence> {
    const { credential, tokens, ask } = this.#options;
    const basic = credential !== undefined && "username" in credential ? basicOf(credential) : undefined;
    return tokens.obtain(request, (url) => ask(url, basic), signal);
  }
}

/** `repository:<other>:pull` becomes ours unless it was said for us; no scope at all becomes the usual one. */
export function scopesFor(scopes: readonly string[], repository: Repository, verbatim: boolean): readonly string[] {
  if (scopes.length === 0) return [`repository:${repository}:pull`];
  if (verbatim) return scopes;
  return [
    ...new Set(scopes.map((scope) => scope.replace(/^(repository(?:\([^)]*\))?):.+:([^:]+)$/, `$1:${repository}:$2`))),
  ];
}

function sameRequest(one: TokenRequest, other: TokenRequest): boolean {
  return (
    one.realm.href === other.realm.href &&
    one.service === other.service &&
    one.scopes.length === other.scopes.length &&
    one.scopes.every((scope) => other.scopes.includes(scope))
  );
}

function held(header: string): Authorization {
  return { header, source: "held", fresh: true };
}

function granted(tokenRequest: TokenRequest, { token, fresh }: Grant): Authorization {
  return { header: `Bearer ${token.text}`, source: "granted", tokenRequest, token, fresh };
}

function basicOf({ username, password }: { readonly username: string; readonly password: string }): string {
  return `Basic ${Buffer.from(`${username}:${password}`, "utf8").toString("base64")}`;
}

export function refusedBy(name: string, cause?: Failure): Failure {
  return new Failure("refused", `${name} refuses the credentials of this mirror; check upstreams.${name}.credentials`, {
    ...(cause === undefined ? {} : { cause, detail: cause.detail }),
  });
}
