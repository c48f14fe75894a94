/**
 * Tokens obtained from token servers (distribution specification, "Token Authentication"): asked for once per (realm,
 * service, scope) however many wait, renewed while they are still good, and kept to their end. Refusals and denials are kept
 * for a while too, so that they are not asked for again with every request; a token server that fails is left alone for a
 * moment, whatever is wanted of it.
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
const MAX_REALMS = 100;
/** Shorter than it takes until a question is asked for the last time. */
const FAILED_MS = 500;
const MAX_FAILED_MS = 60_000;

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

interface Outcome {
  readonly of: Failure | Absence;
  /** While it is not asked again. */
  readonly span: Span;
}

export class Tokens {
  readonly #kept = new LRUCache<string, Token>({ max: MAX_TOKENS });
  readonly #refusals = new LRUCache<string, Outcome>({ max: MAX_TOKENS });
  /** By realm: it did not answer, or made no sense. */
  readonly #failed = new LRUCache<string, Outcome>({ max: MAX_REALMS });
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
      if (now >= kept.renewAt && leftOf(this.#deferred.get(key), now) === 0) this.#renew(request, key, asker);
      return { token: kept, fresh: false };
    }
    const refusalKey = refusalKeyOf(key, asker);
    const known = this.#recall(this.#refusals.get(refusalKey)) ?? this.#recall(this.#failed.get(request.realm.href));
    if (known !== undefined) return known;
    const token = await unlessAborted(this.#ask(request, key, asker), signal);
    return isAbsence(token) ? token : { token, fresh: true };
  }

  /** Forgets a token that was refused, unless another has taken its place. */
  forget(request: TokenRequest, token: Token): void {
    const key = keyOf(request);
    if (this.#kept.get(key) === token) this.#kept.delete(key);
  }

  /** Nobody waits for it, and nothing but time is lost where it fails. */
  #renew(request: TokenRequest, key: string, asker: Asker): void {
    this.#deferred.set(key, spanOf(this.#clock.now(), this.#refusedMs));
    this.#ask(request, key, asker).catch(() => {});
  }

  #ask({ realm }: TokenRequest, key: string, asker: Asker): Promise<Token | Absence> {
    const refusalKey = refusalKeyOf(key, asker);
    const { outcome } = this.#asking.run(refusalKey, async () => {
      try {
        const token = await asker.ask();
        if (isAbsence(token)) this.#keep(this.#refusals, refusalKey, token, this.#refusedMs);
        if (isAbsence(token)) return token;
        this.#kept.set(key, token);
        this.#deferred.delete(key);
        return token;
      } catch (error) {
        this.#noteFailure(refusalKey, realm, error);
        throw error;
      }
    });
    return outcome;
  }

  #noteFailure(refusalKey: string, realm: URL, error: unknown): void {
    if (!isFailure(error)) return;
    const { kind, retryAfterMs } = error;
    if (kind === "refused") this.#keep(this.#refusals, refusalKey, error, this.#refusedMs);
    else if (kind === "limited") this.#keep(this.#refusals, refusalKey, error, retryAfterMs ?? this.#refusedMs);
    else this.#keep(this.#failed, realm.href, error, Math.min(retryAfterMs ?? FAILED_MS, MAX_FAILED_MS));
  }

  #keep(outcomes: LRUCache<string, Outcome>, key: string, of: Failure | Absence, forMs: number): void {
    outcomes.set(key, { of, span: spanOf(this.#clock.now(), forMs) });
  }

  /** The absence that still counts. @throws Failure the one that does. */
  #recall(outcome: Outcome | undefined): Absence | undefined {
    const leftMs = leftOf(outcome?.span, this.#clock.now());
    if (outcome === undefined || leftMs === 0) return undefined;
    if (isFailure(outcome.of)) throw repeated(outcome.of, leftMs);
    return outcome.of;
  }
}

/** As it was, but for how long there is to wait. */
function repeated(failure: Failure, leftMs: number): Failure {
  const { kind, message, detail, upstreamStatus, timedOut, retryAfterMs } = failure;
  return new Failure(kind, message, {
    timedOut,
    // The same, not the failure: what is asked again hangs on it.
    cause: failure.cause ?? failure,
    ...(detail === undefined ? {} : { detail }),
    ...(upstreamStatus === undefined ? {} : { upstreamStatus }),
    ...(kind === "limited" || retryAfterMs !== undefined ? { retryAfterMs: leftMs } : {}),
  });
}

function refusalKeyOf(key: string, { shown }: Asker): string {
  return `${key} ${shown ?? ""}`;
}

function keyOf({ realm, service, scopes }: TokenRequest): string {
  return JSON.stringify([realm.href, service ?? null, [...scopes].sort()]);
}
