/**
 * What to put into `Authorization` for one registry: what we hold, or what its token server gives for it.
 *
 * Learns from the challenges it sees, so that from the second repository on no request is wasted on a 401. A challenge
 * is answered at most once per request, and only by a realm that `judgeRealm` lets have our credential. What is refused is
 * reported to whoever holds it; if they have another by then that is shown, once, and otherwise nothing for a while.
 */
import type { Clock } from "../../base/clock.ts";
import { Failure, isFailure, messageOf } from "../../base/failure.ts";
import { unlessAborted } from "../../base/singleflight.ts";
import type { Repository } from "../../oci/reference.ts";
import type { Asking, CredentialSource, Held } from "../credentials/credential.ts";
import { Deadline } from "../exchange/deadline.ts";
import type { Sender } from "../exchange/sender.ts";
import { refusedBy } from "../exchange/trouble.ts";
import { type Absence, isAbsence } from "../upstream.ts";
import { type Challenge, chooseChallenge } from "./challenge.ts";
import { judgeRealm } from "./realm.ts";
import { type Attempt, isAboutTheRepository, Refusals, saysExpired, textOf } from "./refusals.ts";
import { readOnly, sameRequest, scopesFor } from "./scopes.ts";
import type { Secrets } from "./secrets.ts";
import type { Token } from "./token.ts";
import type { Grant, TokenRequest, Tokens } from "./tokens.ts";
import { basicOf, TokenServer } from "./tokenserver.ts";

export interface Authorization {
  /** The header's value; a secret. */
  readonly header: string;
  /** Held: ours, as it is. Granted: from a token server. */
  readonly source: "held" | "granted";
  /** What was shown to the registry itself. */
  readonly held?: Held;
  /** Of showing that; ended by whoever sends it. */
  readonly attempt?: Attempt;
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
  /** Of this account alone; default: nothing refused yet, and `DEFAULT_REFUSED_MS`. */
  readonly refusals?: Refusals | undefined;
  readonly sender: Sender;
  /** Told what is shown. */
  readonly secrets: Secrets;
  readonly clock: Clock;
  /** For one visit to a token server. */
  readonly timeoutMs: number;
}

/** An answer that wants (other) credentials. */
export interface Refused {
  readonly status: number;
  readonly host: string;
  readonly challenges: readonly Challenge[];
  readonly errorBody: string;
  /** What it is called there; undefined where a redirect led to something without a name. */
  readonly repository: Repository | undefined;
  /** What was sent. */
  readonly used: Authorization | undefined;
}

/** What one question has tried at one origin. */
export interface Progress {
  isChallengeAnswered: boolean;
  isReplaced: boolean;
}

export class Authorizer {
  /** What became of this account's credentials. */
  readonly refusals: Refusals;
  readonly #options: AuthorizerOptions;
  readonly #server: TokenServer;
  #challenge: Challenge | undefined;

  constructor(options: AuthorizerOptions) {
    this.#options = options;
    this.refusals = options.refusals ?? new Refusals(options.clock);
    this.#server = new TokenServer({ ...options, mayTell: (kind) => this.refusals.mayTell(kind) });
  }

  /**
   * What to send before any challenge; undefined where nothing is known to be wanted, or where what is known no longer
   * helps: the registry's own challenge decides then.
   * @throws Failure `refused` where it was, a moment ago; `limited` by the token server; what whoever holds our credentials
   * throws; or the signal's reason.
   */
  async prepare(repository: Repository, signal: AbortSignal): Promise<Authorization | undefined> {
    const held = await this.#hold(signal);
    const refusal = held === undefined ? undefined : this.refusals.findRefusal(held);
    if (refusal !== undefined) throw refusal;
    if (held?.kind === "bearer") return await this.#show(held, signal);
    const challenge = this.#challenge;
    if (challenge === undefined) return undefined;
    if (challenge.scheme === "basic") return held?.kind === "basic" ? await this.#show(held, signal) : undefined;
    try {
      const request = this.#requestFor(challenge, repository, held);
      // A denial here is of our guess.
      const grant = await this.#obtain(request, held, signal);
      return isAbsence(grant) ? undefined : granted(request, grant);
    } catch (error) {
      if (isFailure(error, "limited")) throw error;
      if (held !== undefined && this.refusals.findRefusal(held) !== undefined) throw error;
      // A token server that is slow until our own time is up is as little use as one that fails.
      const left = signal.aborted && !(isFailure(signal.reason) && signal.reason.timedOut);
      if (!left && this.#challenge === challenge) this.#challenge = undefined;
      if (signal.aborted) throw error;
      return undefined;
    }
  }

  /** Is it our credential that this answer refuses, so that `answer` is to be asked? */
  refusesHeld(status: number, errorBody: string, used: Authorization | undefined): boolean {
    if (used?.held === undefined) return false;
    if (status !== 403) return status === 401;
    return saysExpired(errorBody) || this.#isUnclear(errorBody, used.held);
  }

  /** A 403 that may be of the credential, or of what was asked for. */
  #isUnclear(errorBody: string, held: Held): boolean {
    return !(saysExpired(errorBody) || isAboutTheRepository(errorBody) || this.refusals.isGoodOfLate(held));
  }

  /**
   * Answers a challenge, or a refusal of what we hold. Absence where there is nothing (more) to offer, undefined where the
   * answer stands.
   * @throws Failure `refused` where what we hold was not good enough; what whoever holds our credentials throws.
   */
  async answer(
    refused: Refused,
    progress: Progress,
    signal: AbortSignal,
  ): Promise<Authorization | Absence | undefined> {
    const { challenges, used, repository } = refused;
    const challenge = chooseChallenge(challenges);
    // Who took our password once and now wants a token is followed: registries change their minds.
    const wantsToken = challenge?.scheme === "bearer" && used?.held?.kind === "basic" && !progress.isChallengeAnswered;
    if (used?.held !== undefined && !wantsToken) return await this.#replace(refused, used.held, progress, signal);
    used?.attempt?.end("none");
    if (progress.isChallengeAnswered) return undefined;
    progress.isChallengeAnswered = true;
    if (challenge === undefined) return { absent: "denied" };
    return await this.#meet(challenge, repository, used, await this.#hold(signal), signal);
  }

  async #meet(
    challenge: Challenge,
    repository: Repository | undefined,
    used: Authorization | undefined,
    held: Held | undefined,
    signal: AbortSignal,
  ): Promise<Authorization | Absence> {
    if (held?.kind === "bearer") return await this.#show(held, signal);
    if (challenge.scheme === "basic") {
      if (held?.kind !== "basic") return { absent: "denied" };
      this.#challenge = challenge;
      return await this.#show(held, signal);
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

  /** After the registry itself refused `held`: what is held instead by now, if anything is. */
  async #replace(
    { status, host, errorBody, challenges, repository, used }: Refused,
    held: Held,
    progress: Progress,
    signal: AbortSignal,
  ): Promise<Authorization | Absence | undefined> {
    const { name, source } = this.#options;
    const isUnclear = status === 403 && this.#isUnclear(errorBody, held);
    // What was good once is not refused for one repository that it may not read.
    if (isUnclear && this.refusals.hasProved(held) && (await this.#isWelcome(held, signal))) return undefined;
    const said = saysExpired(errorBody) ? `answered ${status}, it has expired` : `answered ${status}`;
    const failure = refusedBy(name, new Failure("unreachable", `${host} ${said}`, { upstreamStatus: status }));
    if (this.refusals.note(failure, held)) source.refused(held);
    used?.attempt?.end("none");
    const isFirst = !progress.isReplaced;
    progress.isReplaced = true;
    const other = isFirst ? await this.#other(held, signal) : undefined;
    if (other === undefined) {
      this.#tellRefusal(host, said);
      throw failure;
    }
    const challenge = chooseChallenge(challenges) ?? this.#challenge;
    if (other.kind === "basic" && challenge?.scheme !== "bearer") return await this.#show(other, signal);
    if (challenge === undefined)
      return other.kind === "bearer" ? await this.#show(other, signal) : { absent: "denied" };
    return await this.#meet(challenge, repository, undefined, other, signal);
  }

  /** Asks the registry's own door, for nothing. Marks what is welcome as good. */
  async #isWelcome(held: Held, signal: AbortSignal): Promise<boolean> {
    const { endpoint, sender } = this.#options;
    const url = new URL(`${endpoint.href.replace(/\/$/, "")}/v2/`);
    if (held.kind === "identity") return true;
    const headers = { authorization: headerOf(held) };
    const answer = await sender.send(url, { kind: "ping", method: "GET", lane: "small", headers, signal });
    await sender.finish(answer);
    const isWelcome = answer.status !== 401 && answer.status !== 403;
    if (isWelcome) this.refusals.noteGood(held);
    return isWelcome;
  }

  /** What is held now, where that is another than was refused. */
  async #other(refused: Held, signal: AbortSignal): Promise<Held | undefined> {
    const held = await this.#hold(signal);
    return held === undefined || textOf(held) === textOf(refused) ? undefined : held;
  }

  /** To the registry itself. */
  async #show(held: Exclude<Held, { readonly kind: "identity" }>, signal: AbortSignal): Promise<Authorization> {
    let shown = held;
    let attempt: Attempt;
    try {
      attempt = await this.refusals.enter(held, signal);
    } catch (refusal) {
      const other = signal.aborted ? undefined : await this.#other(held, signal);
      if (other === undefined || other.kind === "identity") throw refusal;
      shown = other;
      attempt = await this.refusals.enter(other, signal);
    }
    return { header: headerOf(shown), source: "held", held: shown, attempt, fresh: true };
  }

  /** What we hold now; from here on it is `…` in texts of the upstream's. */
  async #hold(signal: AbortSignal): Promise<Held | undefined> {
    const { source, endpoint, secrets } = this.#options;
    const post: Asking["post"] = (url, form, own = signal) => this.#server.post(url, form, own);
    try {
      const held = await unlessAborted(source.hold({ signal, endpoint, post }), signal);
      if (held !== undefined) secrets.noteHeld(held);
      return held;
    } catch (error) {
      if (!signal.aborted)
        this.#tell("source", `account ${source.account} has no credentials to show`, messageOf(error));
      throw error;
    }
  }

  #requestFor(
    challenge: Challenge,
    repository: Repository | undefined,
    held: Held | undefined,
    verbatim = false,
  ): TokenRequest {
    const { endpoint, tokenRealm, name, source, sender } = this.#options;
    const realm = challenge.parameters.get("realm") ?? "";
    const verdict = judgeRealm({ realm, endpoint, tokenRealm, withCredential: held !== undefined });
    if ("refuse" in verdict) {
      const url = URL.parse(realm);
      const shown = url === null ? undefined : sender.show(url);
      const message = `no token is asked for ${url === null ? "" : `of ${url.host} `}as ${source.account}`;
      this.#tell("realm", message, verdict.refuse, { realm: shown });
      const advice = `if that is its token server, set upstreams.${name}.tokenRealm`;
      throw new Failure("refused", `${name}: no token is asked for: ${verdict.refuse}; ${advice}`, {
        ...(shown === undefined ? {} : { detail: { realm: shown } }),
      });
    }
    const scopes = (challenge.parameters.get("scope") ?? "").split(" ").filter(Boolean);
    return {
      realm: verdict.ask,
      service: challenge.parameters.get("service"),
      scopes: repository === undefined ? readOnly(scopes) : scopesFor(scopes, repository, verbatim),
    };
  }

  #obtain(request: TokenRequest, held: Held | undefined, signal: AbortSignal): Promise<Grant | Absence> {
    const shown = held === undefined ? {} : { shown: textOf(held) };
    return this.#options.tokens.obtain(request, { ask: () => this.#askServer(request, held), ...shown }, signal);
  }

  /** Asks once; once more where what we hold is refused and another by then. Waited for by several, owned by none. */
  async #askServer(request: TokenRequest, held: Held | undefined): Promise<Token | Absence> {
    const { name, source, clock, timeoutMs } = this.#options;
    const { host } = request.realm;
    const known = held === undefined ? undefined : this.refusals.findRefusal(held);
    if (known !== undefined) throw known;
    const deadline = new Deadline(clock);
    try {
      return await this.#tryServer(request, held);
    } catch (error) {
      if (held === undefined || !isRefusalOfHeld(error)) {
        // A limit has notices of its own, a realm was told of.
        if (isFailure(error, "unreachable", "corrupt"))
          this.#tell("token", `no token from ${host} as ${source.account}`, error.message);
        throw error;
      }
      deadline.set(timeoutMs, `${name}: there were no other credentials in time`);
      try {
        const other = await this.#other(held, deadline.signal);
        if (other !== undefined) return await this.#tryServer(request, other);
        throw error;
      } catch (last) {
        if (isRefusalOfHeld(last)) this.#tellRefusal(host, `its token server answered ${last.upstreamStatus}`);
        throw last;
      }
    } finally {
      deadline.lift();
    }
  }

  async #tryServer(request: TokenRequest, held: Held | undefined): Promise<Token | Absence> {
    if (held === undefined) return await this.#server.ask(request, undefined);
    const attempt = await this.refusals.enter(held);
    try {
      const token = await this.#server.ask(request, held);
      if (!isAbsence(token)) attempt.end("good");
      return token;
    } catch (error) {
      if (!isRefusalOfHeld(error)) throw error;
      if (await this.#isOfScope(error, request, held, attempt)) return { absent: "denied" };
      if (this.refusals.note(error, held)) this.#options.source.refused(held);
      throw error;
    } finally {
      attempt.end("none");
    }
  }

  /**
   * Does a token server's refusal say no more than that the account may not have this? GitHub's says 403 DENIED to a
   * wrong password as to a repository that is not there; others have 401 for both. Asked for no scope at all, as `docker
   * login` does it, it has the credential alone to judge.
   */
  async #isOfScope({ upstreamStatus }: Failure, request: TokenRequest, held: Held, attempt: Attempt): Promise<boolean> {
    const { source } = this.#options;
    const { host } = request.realm;
    if (request.scopes.length === 0 || (upstreamStatus !== 401 && upstreamStatus !== 403)) return false;
    const isGood = this.refusals.isGoodOfLate(held);
    // 401 to what has not proved good is clear: a second try would be a second failed login.
    if (upstreamStatus === 401 && !isGood) return false;
    const isClear = upstreamStatus === 403 && isGood;
    if (!isClear && this.refusals.isDue("no scope")) {
      try {
        await this.#server.ask({ ...request, scopes: [] }, held);
        attempt.end("good");
      } catch (error) {
        if (isRefusalOfHeld(error)) return false;
        if (!isFailure(error)) throw error;
      }
    }
    this.#tell(
      "denied",
      `${host} gives account ${source.account} no token`,
      `it answered ${upstreamStatus} to what was asked for`,
    );
    return true;
  }

  #tellRefusal(host: string, said: string): void {
    const { name, source, sender } = this.#options;
    if (!this.refusals.mayTell()) return;
    const check = `check upstreams.${name}.credentials`;
    sender.noteTrouble(`${name}: account ${source.account} is refused: ${host}: ${said}; ${check}`);
  }

  /** @param kind of which one is told in a while; no word of the upstream's, which could be another each time */
  #tell(kind: string, what: string, why: string, detail?: object): void {
    const { name, sender } = this.#options;
    if (this.refusals.mayTell(kind)) sender.noteTrouble(`${name}: ${what}: ${why}`, detail);
  }
}

/** For the registry itself, which is never shown an identity token. */
function headerOf(held: Held): string {
  return held.kind === "basic" ? basicOf(held) : `Bearer ${held.token}`;
}

/** Not a realm that may not have it, nor a source that has nothing. */
function isRefusalOfHeld(error: unknown): error is Failure {
  return isFailure(error, "refused") && error.upstreamStatus !== undefined;
}

function granted(tokenRequest: TokenRequest, { token, fresh }: Grant): Authorization {
  return { header: `Bearer ${token.text}`, source: "granted", tokenRequest, token, fresh };
}
