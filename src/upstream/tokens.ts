/**
 * Tokens obtained from token servers (distribution specification, "Token Authentication"): asked for once per (realm,
 * service, scope) however many wait, and kept until little of their life is left. A refusal is kept for a while too, so
 * that a wrong password is not sent again with every request.
 *
 * One of these is for one account: whose tokens are in it is its owner's to keep apart.
 * Speaks no HTTP itself. What a token server may be asked at all is decided in `realm.ts`, before.
 */
import { LRUCache } from "lru-cache";
import type { Clock } from "../base/clock.ts";
import { Failure, isFailure } from "../base/failure.ts";
import { Singleflight, unlessAborted } from "../base/singleflight.ts";
import { type Absence, isAbsence } from "./upstream.ts";

export const MAX_TOKEN_ANSWER_BYTES = 1024 * 1024;
const MAX_TOKENS = 1000;
const MAX_TOKEN_CHARACTERS = 64 * 1024;
const FLOOR_SECONDS = 60;
/** The share of its life for which a token is used. */
const USED_LIFE = 0.85;
/** For how long a refusal is not asked about again, where the token server does not say. */
const REFUSED_MS = 30_000;

export interface TokenRequest {
  readonly realm: URL;
  readonly service: string | undefined;
  readonly scopes: readonly string[];
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

interface Refusal {
  readonly failure: Failure;
  /** Epoch milliseconds from which it is asked again. */
  readonly until: number;
}

export class Tokens {
  readonly #kept = new LRUCache<string, Token>({ max: MAX_TOKENS });
  readonly #refusals = new LRUCache<string, Refusal>({ max: MAX_TOKENS });
  readonly #asking = new Singleflight<Token | Absence>();
  readonly #clock: Clock;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** @throws Failure of the token server's, a remembered one included; or the signal's reason. */
  async obtain(request: TokenRequest, ask: AskForToken, signal: AbortSignal): Promise<Grant | Absence> {
    const key = keyOf(request);
    const kept = this.#kept.get(key);
    if (kept !== undefined && this.#clock.now() < kept.renewAt) return { token: kept, fresh: false };
    this.#throwRefusal(key);
    const { outcome } = this.#asking.run(key, async () => {
      try {
        const answer = await ask(urlOf(request));
        if (isAbsence(answer)) return answer;
        const token = parseToken(answer, this.#clock.now());
        this.#kept.set(key, token);
        return token;
      } catch (error) {
        this.#noteRefusal(key, error);
        throw error;
      }
    });
    const token = await unlessAborted(outcome, signal);
    return isAbsence(token) ? token : { token, fresh: true };
  }

  #noteRefusal(key: string, error: unknown): void {
    if (!isFailure(error, "refused", "limited")) return;
    const forMs = error.kind === "limited" ? (error.retryAfterMs ?? REFUSED_MS) : REFUSED_MS;
    this.#refusals.set(key, { failure: error, until: this.#clock.now() + forMs });
  }

  #throwRefusal(key: string): void {
    const refusal = this.#refusals.get(key);
    if (refusal === undefined) return;
    const leftMs = refusal.until - this.#clock.now();
    if (leftMs > 0) throw repeated(refusal.failure, leftMs);
    this.#refusals.delete(key);
  }

  /** Forgets a token that was refused, unless another has taken its place. */
  forget(request: TokenRequest, token: Token): void {
    const key = keyOf(request);
    if (this.#kept.get(key) === token) this.#kept.delete(key);
  }
}

/** As it was, but for how long there is to wait. */
function repeated(failure: Failure, leftMs: number): Failure {
  const { kind, message, detail, upstreamStatus } = failure;
  return new Failure(kind, message, {
    cause: failure,
    ...(detail === undefined ? {} : { detail }),
    ...(upstreamStatus === undefined ? {} : { upstreamStatus }),
    ...(kind === "limited" ? { retryAfterMs: leftMs } : {}),
  });
}

function keyOf({ realm, service, scopes }: TokenRequest): string {
  return JSON.stringify([realm.href, service ?? null, [...scopes].sort()]);
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
