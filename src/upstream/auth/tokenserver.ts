/**
 * Asking a token server, in the two ways there are: GET with Basic, which all of them know, and POST with an OAuth 2 form,
 * which identity tokens need (distribution specification, "Token Authentication" and "OAuth2 Token Authentication").
 *
 * The invariant: the realm has been judged, and every redirect from there is judged as a realm again, so that a credential
 * follows nowhere that it could not have gone at first.
 */
import { LRUCache } from "lru-cache";
import type { Clock } from "../../base/clock.ts";
import { Failure, isFailure } from "../../base/failure.ts";
import type { Held } from "../credentials/credential.ts";
import { readWhole } from "../exchange/body.ts";
import { codingOf, decodeWhole } from "../exchange/coding.ts";
import { Deadline } from "../exchange/deadline.ts";
import { isRedirect, MAX_HOPS } from "../exchange/redirect.ts";
import type { Letter, Sender } from "../exchange/sender.ts";
import { failureOf, failureOfAnswer, refusedBy } from "../exchange/trouble.ts";
import { type Answer, headerOf } from "../network/transport.ts";
import type { Absence } from "../upstream.ts";
import { judgeRealm } from "./realm.ts";
import type { Secrets } from "./secrets.ts";
import { parseToken, type Token } from "./token.ts";
import type { TokenRequest } from "./tokens.ts";

export const MAX_TOKEN_ANSWER_BYTES = 1024 * 1024;
const MAX_REALMS = 16;

/** Required of OAuth 2 clients; a name for logs, and no secret. */
const CLIENT_ID = "wharfinger";

/**
 * The user whose password a refresh token is, for a server that has no POST: Azure's convention (github.com/Azure/acr,
 * docs/AAD-OAuth.md).
 */
const IDENTITY_USER = "00000000-0000-0000-0000-000000000000";

export interface TokenServerOptions {
  readonly name: string;
  readonly sender: Sender;
  readonly secrets: Secrets;
  readonly clock: Clock;
  readonly endpoint: URL;
  readonly tokenRealm: string | null;
  /** True once in a while for each kind of trouble. */
  readonly mayTell: (kind: string) => boolean;
  /** For one visit, from first request to last byte. */
  readonly timeoutMs: number;
}

type Reply =
  | { readonly status: 200; readonly body: Buffer }
  /** Any other status, with the beginning of its body. */
  | { readonly status: number; readonly text: string; readonly failure: Failure; readonly body?: undefined };

export class TokenServer {
  readonly #options: TokenServerOptions;
  /** Realms that take a password by POST only. */
  readonly #posted = new LRUCache<string, true>({ max: MAX_REALMS });

  constructor(options: TokenServerOptions) {
    this.#options = options;
  }

  /**
   * Absence where it grants nothing to nobody.
   * @throws Failure `refused` where it does not to `held`: for what it is, or for what was asked; `limited`, `unreachable`
   */
  async ask(request: TokenRequest, held: Held | undefined): Promise<Token | Absence> {
    const shown = held?.kind === "bearer" ? undefined : held;
    const reply = await this.#askAs(request, shown);
    const { name, clock } = this.#options;
    if (reply.body !== undefined) {
      return parseToken(reply.body, clock.now(), `${name}: its token server ${request.realm.host}`);
    }
    const { status, text, failure } = reply;
    if (!isRefusal(status, text)) throw failure;
    if (shown === undefined) return { absent: "denied" };
    throw refusedBy(name, failure);
  }

  /**
   * Posts a form that holds credentials to where they may go; the body of a 200.
   * @throws Failure `refused`, `limited`, `unreachable`; or the signal's reason
   */
  async post(url: URL, form: URLSearchParams, signal?: AbortSignal): Promise<Buffer> {
    const { name, sender, mayTell } = this.#options;
    const verdict = judgeRealm({ ...this.#options, realm: url.href, withCredential: true });
    if ("refuse" in verdict) {
      const message = `${name}: nothing is sent to ${url.host}: ${verdict.refuse}`;
      if (mayTell("form")) sender.noteTrouble(message, { realm: sender.show(url) });
      throw new Failure("refused", message);
    }
    const reply = await this.#post(verdict.ask, form, signal);
    if (reply.body !== undefined) return reply.body;
    throw isRefusal(reply.status, reply.text) ? refusedBy(name, reply.failure) : reply.failure;
  }

  async #askAs(request: TokenRequest, held: Exclude<Held, { readonly kind: "bearer" }> | undefined): Promise<Reply> {
    if (held === undefined) return await this.#get(request, undefined);
    if (held.kind === "identity") {
      const form = formOf(request, { grant_type: "refresh_token", refresh_token: held.token });
      const reply = await this.#post(request.realm, form);
      // Who has no POST says so in as many ways: Google 404, Artifactory 401, Azure 400 (containerd: remotes/docker/authorizer.go).
      if (reply.body !== undefined || ![400, 401, 404, 405].includes(reply.status)) return reply;
      if (isInvalidGrant(reply.status, reply.text)) return reply;
      return await this.#get(request, basicOf({ username: IDENTITY_USER, password: held.token }));
    }
    const { username, password } = held;
    const form = () => formOf(request, { grant_type: "password", username, password });
    if (this.#posted.has(request.realm.href)) return await this.#post(request.realm, form());
    const reply = await this.#get(request, basicOf(held));
    if (reply.status !== 404 && reply.status !== 405) return reply;
    const posted = await this.#post(request.realm, form());
    if (posted.body !== undefined) this.#posted.set(request.realm.href, true);
    return posted;
  }

  #get({ realm, service, scopes }: TokenRequest, basic: string | undefined): Promise<Reply> {
    const url = new URL(realm);
    if (service !== undefined) url.searchParams.set("service", service);
    for (const scope of scopes) url.searchParams.append("scope", scope);
    const headers = { accept: "application/json", ...(basic === undefined ? {} : { authorization: basic }) };
    return this.#visit(url, { method: "GET", headers }, basic !== undefined);
  }

  #post(url: URL, form: URLSearchParams, signal?: AbortSignal): Promise<Reply> {
    this.#options.secrets.noteForm(form);
    const headers = { accept: "application/json", "content-type": "application/x-www-form-urlencoded" };
    return this.#visit(url, { method: "POST", headers, body: form.toString() }, true, signal);
  }

  /** One question, followed through redirects. Runs by its own time limit: several callers wait, none owns it. */
  async #visit(
    realm: URL,
    question: Pick<Letter, "method" | "headers" | "body">,
    withCredential: boolean,
    signal?: AbortSignal,
  ): Promise<Reply> {
    const { name, sender, clock, timeoutMs } = this.#options;
    const deadline = new Deadline(clock, signal);
    deadline.set(timeoutMs, `${name}: its token server ${realm.host} did not answer in time`);
    try {
      let url = realm;
      for (let hop = 0; hop <= MAX_HOPS; hop++) {
        const answer = await sender.send(url, { ...question, kind: "token", lane: "small", signal: deadline.signal });
        if (answer.status === 200) return { status: 200, body: await this.#read(answer, url, deadline.signal) };
        const text = await sender.finish(answer);
        // A form is quoted in more ways than there are to look for.
        const said = question.method === "POST" ? "" : text;
        // A form is sent on only where the same is asked for again (RFC 9110 §15.4).
        const follows = question.method === "POST" ? answer.status === 307 || answer.status === 308 : true;
        if (!isRedirect(answer.status) || !follows) {
          return { status: answer.status, text, failure: this.#failureOf(answer, url, said) };
        }
        url = this.#nextRealm(url, answer.headers.location, withCredential);
      }
      throw new Failure("unreachable", `${name}: its token server ${realm.host} redirects too often`);
    } finally {
      deadline.lift();
    }
  }

  async #read(answer: Answer, url: URL, signal: AbortSignal): Promise<Buffer> {
    const { name, sender } = this.#options;
    const body = await readWhole(answer.body, MAX_TOKEN_ANSWER_BYTES, {
      bytes: undefined,
      explain: (error) => (signal.aborted && isFailure(signal.reason) ? signal.reason : failureOf(error, name, url)),
      onEnd: (bytes) => sender.noteBytes(bytes),
    });
    return await decodeWhole(body, codingOf(headerOf(answer, "content-encoding")), MAX_TOKEN_ANSWER_BYTES);
  }

  #failureOf(answer: Answer, url: URL, body: string): Failure {
    const { name, sender } = this.#options;
    return failureOfAnswer(`${name}: its token server ${sender.show(url)}`, {
      status: answer.status,
      contentType: headerOf(answer, "content-type"),
      body,
      retryAfterMs: sender.retryAfterOf(answer),
      hide: (said) => sender.hide(said),
    });
  }

  #nextRealm(from: URL, location: Answer["headers"][string], withCredential: boolean): URL {
    const { name, endpoint, tokenRealm, sender, mayTell } = this.#options;
    // Two of them are none: which one counts is anybody's guess.
    const target = typeof location === "string" ? URL.parse(location, from.href) : null;
    const verdict = judgeRealm({ realm: target?.href ?? "", endpoint, tokenRealm, withCredential });
    if ("ask" in verdict) return verdict.ask;
    const message = `${name}: a redirect of its token server ${from.host} to ${target?.host ?? "nowhere"} is not followed: ${verdict.refuse}`;
    const detail = target === null ? undefined : { realm: sender.show(target) };
    if (mayTell("token redirect")) sender.noteTrouble(message, detail);
    throw new Failure("refused", message);
  }
}

/** RFC 6749 §5.2 tells a bad grant with 400, and 401 only where a client has to authenticate. */
function isInvalidGrant(status: number, text: string): boolean {
  return status === 400 && /"invalid_(?:grant|client)"/.test(text);
}

function isRefusal(status: number, text: string): boolean {
  return status === 401 || status === 403 || isInvalidGrant(status, text);
}

function formOf({ service, scopes }: TokenRequest, more: Readonly<Record<string, string>>): URLSearchParams {
  const form = new URLSearchParams({ ...more, client_id: CLIENT_ID });
  if (service !== undefined) form.set("service", service);
  if (scopes.length > 0) form.set("scope", scopes.join(" "));
  return form;
}

export function basicOf({ username, password }: { readonly username: string; readonly password: string }): string {
  return `Basic ${Buffer.from(`${username}:${password}`, "utf8").toString("base64")}`;
}
