/**
 * Tokens obtained from token servers (distribution specification, "Token Authentication"): asked for once per (realm,
 * service, scope) however many wait, renewed while they are still good, and kept to their end. A refusal is kept for a
 * while too, so that it is not asked for again with every request.
 *
 * One of these is for one account: whose tokens are in it is its owner's to keep apart.
 * Speaks no HTTP itself. What a token server may be asked at all is decided in `realm.ts`, before.
 */
import { LRUCache } from "lru-cache";
import type { Clock } from "../../base/clock.ts";
import { Failure, isFailure } from "../../base/failure.ts";
import { Singleflight, unlessAborted } from "../../base/singleflight.ts";
import { leftOf, type Span, spanOf } from "../../base/span.ts";
import { DEFAULT_REFUSED_MS } from "../options.ts";
import { type Absence, isAbsence } from "../upstream.ts";
import type { Token } from "./token.ts";

const MAX_TOKENS = 1000;

export interface TokenRequest {
  readonly realm: URL;
  readonly service: string | undefined;
  readonly scopes: readonly string[];
}

export interface Asker {
  /** Asks the token server. Belongs to nobody who waits: it has a time limit of its own. */
  readonly ask: () => Promise<Token | Absence>;
  /** Whose refusal this would be: what refuses one credential says nothing of the next. Not shown to anyone. */
  readonly shown?: string;
}

export interface Grant {
  readonly token: Token;
  /** True where the token was obtained for this call and not found. */
  readonly fresh: boolean;
}

interface Refusal {
  readonly failure: Failure;
  /** While it is not asked again. */
  readonly span: Span;
}

export class Tokens {
  readonly #kept = new LRUCache<string, Token>({ max: MAX_TOKENS });
  readonly #refusals = new LRUCache<string, Refusal>({ max: MAX_TOKENS });
  /** While a renewal that failed is not tried again, and the old token is good. */
  readonly #deferred = new LRUCache<string, Span>({ max: MAX_TOKENS });
  readonly #asking = new Singleflight<Token | Absence>();
  readonly #clock: Clock;
  readonly #refusedMs: number;

  /** @param refusedMs for how long a refusal is not asked about again, where the token server does not say. */
  constructor(clock: Clock, refusedMs = DEFAULT_REFUSED_MS) {
    this.#clock = clock;
    this.#refusedMs = refusedMs;
  }

  /** @throws Failure of the token server's, a remembered one included; or the signal's reason. */
  async obtain(request: TokenRequest, asker: Asker, signal: AbortSignal): Promise<Grant | Absence> {
    const key = keyOf(request);
    const now = this.#clock.now();
    const kept = this.#kept.get(key);
    if (kept !== undefined && now < kept.expiresAt) {
      if (now >= kept.renewAt && leftOf(this.#deferred.get(key), now) === 0) this.#renew(key, asker);
      return { token: kept, fresh: false };
    }
    const refusalKey = `${key} ${asker.shown ?? ""}`;
    this.#throwRefusal(refusalKey);
    const token = await unlessAborted(this.#ask(key, refusalKey, asker), signal);
    return isAbsence(token) ? token : { token, fresh: true };
  }

  /** Forgets a token that was refused, unless another has taken its place. */
  forget(request: TokenRequest, token: Token): void {
    const key = keyOf(request);
    if (this.#kept.get(key) === token) this.#kept.delete(key);
  }

  /** Nobody waits for it, and nothing but time is lost where it fails. */
  #renew(key: string, asker: Asker): void {
    this.#deferred.set(key, spanOf(this.#clock.now(), this.#refusedMs));
    this.#ask(key, `${key} ${asker.shown ?? ""}`, asker).catch(() => {});
  }

  #ask(key: string, refusalKey: string, asker: Asker): Promise<Token | Absence> {
    const { outcome } = this.#asking.run(refusalKey, async () => {
      try {
        const token = await asker.ask();
        if (isAbsence(token)) return token;
        this.#kept.set(key, token);
        this.#deferred.delete(key);
        return token;
      } catch (error) {
        this.#noteRefusal(refusalKey, error);
        throw error;
      }
    });
    return outcome;
  }

  #noteRefusal(key: string, error: unknown): void {
    if (!isFailure(error, "refused", "limited")) return;
    const forMs = error.kind === "limited" ? (error.retryAfterMs ?? this.#refusedMs) : this.#refusedMs;
    this.#refusals.set(key, { failure: error, span: spanOf(this.#clock.now(), forMs) });
  }

  #throwRefusal(key: string): void {
    const refusal = this.#refusals.get(key);
    if (refusal === undefined) return;
    const leftMs = leftOf(refusal.span, this.#clock.now());
    if (leftMs > 0) throw repeated(refusal.failure, leftMs);
    this.#refusals.delete(key);
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
