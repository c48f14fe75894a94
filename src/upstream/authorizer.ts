/**
 * What to put into `Authorization` for one registry: what we hold, or what its token server gives for it.
 *
 * Learns from the challenges it sees, so that from the second repository on no request is wasted on a 401. A challenge
 * is answered at most once per request, and only by a realm that `judgeRealm` lets have our credential.
 */
import type { Clock } from "../base/clock.ts";
import { Failure, isFailure } from "../base/failure.ts";
import { unlessAborted } from "../base/singleflight.ts";
import type { Repository } from "../oci/reference.ts";
import { type Challenge, chooseChallenge } from "./challenge.ts";
import type { Asking, CredentialSource, Held } from "./credentials/credential.ts";
import { judgeRealm } from "./realm.ts";
import { redactUrl } from "./redact.ts";
import type { Secrets } from "./secrets.ts";
import type { Sender } from "./sender.ts";
import type { Grant, Token, TokenRequest, Tokens } from "./tokens.ts";
import { askTokenServer, postForm, type TokenServerOptions } from "./tokenserver.ts";
import { refusedBy } from "./trouble.ts";
import { type Absence, isAbsence } from "./upstream.ts";

export interface Authorization {
  /** The header's value; a secret. */
  readonly header: string;
  /** Held: ours, as it is. Granted: from a token server. */
  readonly source: "held" | "granted";
  /** What was shown to the registry itself. */
  readonly held?: Held;
  readonly tokenRequest?: TokenRequest;
  readonly token?: Token;
  /** True where asking the token server again would bring the same. */
  readonly fresh: boolean;
}

export interface AuthorizerOptions {
  /** The upstream's name, for messages. */
  readonly name: string;
  readonly endpoint: URL;
  /** Asked with every request: what is held may change. */
  readonly source: CredentialSource;
  readonly tokenRealm: string | null;
  /** Of this account alone. */
  readonly tokens: Tokens;
  readonly sender: Sender;
  /** Told what is shown. */
  readonly secrets: Secrets;
  readonly clock: Clock;
  /** For one visit to a token server. */
  readonly timeoutMs: number;
}

export class Authorizer {
  readonly #options: AuthorizerOptions;
  #challenge: Challenge | undefined;

  constructor(options: AuthorizerOptions) {
    this.#options = options;
  }

  /**
   * What to send before any challenge; undefined where nothing is known to be wanted, or where what is known no longer
   * helps: the registry's own challenge decides then.
   * @throws what whoever holds our credentials throws; or the signal's reason.
   */
  async prepare(repository: Repository, signal: AbortSignal): Promise<Authorization | undefined> {
    const held = await this.#hold(signal);
    if (held?.kind === "bearer") return asHeld(held, `Bearer ${held.token}`);
    const challenge = this.#challenge;
    if (challenge === undefined) return undefined;
    if (challenge.scheme === "basic") return held?.kind === "basic" ? asHeld(held, basicOf(held)) : undefined;
    try {
      const request = this.#requestFor(challenge, repository, held);
      // A denial here is of our guess.
      const grant = await this.#obtain(request, held, signal);
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
   * @throws Failure `refused` where what we hold was not good enough; what whoever holds our credentials throws.
   */
  async answer(
    challenges: readonly Challenge[],
    repository: Repository | undefined,
    used: Authorization | undefined,
    signal: AbortSignal,
  ): Promise<Authorization | Absence> {
    const { name } = this.#options;
    const challenge = chooseChallenge(challenges);
    // Who took our password once and now wants a token is followed: registries change their minds.
    const wantsToken = challenge?.scheme === "bearer" && used?.held?.kind === "basic";
    if (used?.source === "held" && !wantsToken) throw refusedBy(name);
    if (challenge === undefined) return { absent: "denied" };
    const held = await this.#hold(signal);
    if (challenge.scheme === "basic") {
      if (held?.kind !== "basic") return { absent: "denied" };
      this.#challenge = challenge;
      return asHeld(held, basicOf(held));
    }
    const request = this.#requestFor(challenge, repository, held, true);
    this.#challenge = challenge;
    if (used?.token !== undefined && used.tokenRequest !== undefined) {
      if (used.fresh && sameRequest(used.tokenRequest, request)) return { absent: "denied" };
      this.#options.tokens.forget(used.tokenRequest, used.token);
    }
    const grant = await this.#obtain(request, held, signal);
    return isAbsence(grant) ? grant : granted(request, grant);
  }

  /** What we hold now, and what it is called from now on in texts of the upstream's: `…`. */
  async #hold(signal: AbortSignal): Promise<Held | undefined> {
    const { source, endpoint, secrets } = this.#options;
    const post: Asking["post"] = (url, form) => postForm(this.#tokenServer(), url, form, signal);
    const held = await unlessAborted(source.hold({ signal, endpoint, post }), signal);
    if (held !== undefined) secrets.noteHeld(held);
    return held;
  }

  #tokenServer(): TokenServerOptions {
    const { name, sender, secrets, clock, endpoint, tokenRealm, timeoutMs } = this.#options;
    return { name, sender, secrets, clock, endpoint, tokenRealm, timeoutMs };
  }

  #requestFor(
    challenge: Challenge,
    repository: Repository | undefined,
    held: Held | undefined,
    verbatim = false,
  ): TokenRequest {
    const { endpoint, tokenRealm, name, sender } = this.#options;
    const realm = challenge.parameters.get("realm") ?? "";
    const verdict = judgeRealm({ realm, endpoint, tokenRealm, withCredential: held !== undefined });
    if ("refuse" in verdict) {
      const url = URL.parse(realm);
      const shown = url === null ? undefined : sender.hide(redactUrl(url));
      const message = `${name}: no token is asked for: ${verdict.refuse}`;
      sender.noteTrouble(message, { realm: shown });
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

  #obtain(request: TokenRequest, held: Held | undefined, signal: AbortSignal): Promise<Grant | Absence> {
    const basic = held?.kind === "basic" ? basicOf(held) : undefined;
    return this.#options.tokens.obtain(request, (url) => askTokenServer(this.#tokenServer(), url, basic), signal);
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

function asHeld(held: Held, header: string): Authorization {
  return { header, source: "held", held, fresh: true };
}

function granted(tokenRequest: TokenRequest, { token, fresh }: Grant): Authorization {
  return { header: `Bearer ${token.text}`, source: "granted", tokenRequest, token, fresh };
}

function basicOf({ username, password }: { readonly username: string; readonly password: string }): string {
  return `Basic ${Buffer.from(`${username}:${password}`, "utf8").toString("base64")}`;
}
