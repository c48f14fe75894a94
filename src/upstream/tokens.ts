/**
 * Tokens obtained from token servers (distribution specification, "Token Authentication"): asked for once per (realm,
 * service, scope, account) however many wait, and kept until little of their life is left.
 *
 * Speaks no HTTP itself. What a token server may be asked at all is decided in `realm.ts`, before.
 */
import { LRUCache } from "lru-cache";
import type { Clock } from "../base/clock.ts";
import { Failure } from "../base/failure.ts";
import { Singleflight, unlessAborted } from "../base/singleflight.ts";
import type { Absence } from "./upstream.ts";

export const MAX_TOKEN_ANSWER_BYTES = 1024 * 1024;
const MAX_TOKENS = 1000;
const MAX_TOKEN_CHARACTERS = 64 * 1024;
const FLOOR_SECONDS = 60;
/** The share of its life for which a token is used. */
const USED_LIFE = 0.85;

export interface TokenRequest {
  readonly realm: URL;
  readonly service: string | undefined;
  readonly scopes: readonly string[];
  /** Whose token it will be; never a secret. */
  readonly account: string;
}

export interface Token {
  readonly text: string;
  /** Epoch milliseconds from which it is no longer used. */
  readonly renewAt: number;
}

/** Asks the token server; its answer is the body of a 200. */
export type AskForToken = (url: URL) => Promise<Buffer | Absence>;

export interface Grant {
  readonly token: Token;
  /** True where the token was obtained for this call and not found. */
  readonly fresh: boolean;
}

export class Tokens {
  readonly #kept = new LRUCache<string, Token>({ max: MAX_TOKENS });
  readonly #asking = new Singleflight<Token | Absence>();
  readonly #clock: Clock;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  async obtain(request: TokenRequest, ask: AskForToken, signal: AbortSignal): Promise<Grant | Absence> {
    const key = keyOf(request);
    const kept = this.#kept.get(key);
    if (kept !== undefined && this.#clock.now() < kept.renewAt) return { token: kept, fresh: false };
    const { outcome } = this.#asking.run(key, async () => {
      const answer = await ask(urlOf(request));
      if ("absent" in answer) return answer;
      const token = parseToken(answer, this.#clock.now());
      this.#kept.set(key, token);
      return token;
    });
    const token = await unlessAborted(outcome, signal);
    return "absent" in token ? token : { token, fresh: true };
  }

  /** Forgets a token that was refused, unless another has taken its place. */
  forget(request: TokenRequest, token: Token): void {
    const key = keyOf(request);
    if (this.#kept.get(key) === token) this.#kept.delete(key);
  }
}

function keyOf({ realm, service, scopes, account }: TokenRequest): string {
  return JSON.stringify([realm.href, service ?? null, [...scopes].sort(), account]);
}

function urlOf({ realm, service, scopes }: TokenRequest): URL {
  const url = new URL(realm);
  if (service !== undefined) url.searchParams.set("service", service);
  for (const scope of scopes) url.searchParams.append("scope", scope);
  return url;
}

/** @throws Failure `unreachable` where there is no usable token in it. */
export function parseToken(body: Buffer, receivedAt: number): Token {
  let answer: unknown;
  try {
    answer = JSON.parse(body.toString("utf8"));
  } catch {
    throw new Failure("unreachable", "the token server answered something that is not JSON");
  }
  if (typeof answer !== "object" || answer === null) throw noToken();
  const fields = answer as { token?: unknown; access_token?: unknown; expires_in?: unknown };
  const text = [fields.token, fields.access_token].find((one) => typeof one === "string" && one !== "");
  // A token goes into a header: what cannot stand there is none.
  if (typeof text !== "string" || text.length > MAX_TOKEN_CHARACTERS || !/^[\x21-\x7e]+$/.test(text)) throw noToken();
  const seconds = Number(fields.expires_in ?? FLOOR_SECONDS);
  const lifeMs = Math.min(Math.max(Number.isFinite(seconds) ? seconds : 0, FLOOR_SECONDS), 86_400) * 1000;
  return { text, renewAt: receivedAt + lifeMs * USED_LIFE };
}

function noToken(): Failure {
  return new Failure("unreachable", "the token server's answer holds no token");
}
