/**
 * Something that is good for a time and has to be asked for: kept, renewed before it ends, asked for once however many
 * wait, forgotten when it was refused.
 *
 * What is still good is used while its renewal runs behind, and while that fails. What failed with nothing left to use is
 * not tried again for ten seconds: whoever comes meanwhile gets the same failure.
 */
import type { Clock } from "../../base/clock.ts";
import { Failure, isFailure } from "../../base/failure.ts";
import { unlessAborted } from "../../base/singleflight.ts";
import { leftOf, OVER, type Span, spanOf } from "../../base/span.ts";
import type { Asking } from "./credential.ts";

export interface Lease<T> {
  readonly value: T;
  /** Epoch milliseconds from which it is asked for again, behind. */
  readonly renewAt: number;
  /** Epoch milliseconds from which it is not used. */
  readonly expiresAt: number;
}

export interface RenewedOptions<T> {
  readonly clock: Clock;
  /** How long one attempt may take. */
  readonly timeoutMs: number;
  /** What is being waited for, for the message of a timeout: `docker-credential-pass`. */
  readonly what: string;
  /** Must end soon when the asking's signal aborts. @throws Failure */
  readonly obtain: (asking: Asking) => Promise<Lease<T>>;
  /** A renewal failed while the old one is good; told once until one succeeds. */
  readonly onFailure: (failure: Failure) => void;
}

interface Flight<T> {
  readonly outcome: Promise<T>;
  /** Of who had it begun. */
  readonly signal: AbortSignal;
}

const FAILED_MS = 10_000;
const MAX_QUIET_MS = 5 * 60_000;
/** The share of its life after which something is renewed: about a half, and not everywhere at the same time. */
const RENEWED_FROM = 0.45;
const SPREAD = 0.1;

/** Used until a minute before its end, or a tenth of its life. @throws Failure `unreachable`: it has ended already. */
export function leaseUntil<T>(value: T, now: number, endsAt: number, random = Math.random()): Lease<T> {
  const lifeMs = endsAt - now;
  if (!(lifeMs > 0)) throw new Failure("unreachable", "what was given had already expired");
  return {
    value,
    renewAt: now + lifeMs * (RENEWED_FROM + SPREAD * random),
    expiresAt: endsAt - Math.min(60_000, lifeMs / 10),
  };
}

export class Renewed<T> {
  readonly #options: RenewedOptions<T>;
  readonly #closing = new AbortController();
  #lease: Lease<T> | undefined;
  #flight: Flight<T> | undefined;
  #failed: { readonly error: Failure; readonly span: Span } | undefined;
  /** While a failing renewal is left alone, and how long that is. */
  #quiet = { span: OVER, ms: 0 };

  constructor(options: RenewedOptions<T>) {
    this.#options = options;
  }

  /** @throws Failure of `obtain`, a remembered one included; or the signal's reason. */
  async get(asking: Asking): Promise<T> {
    for (;;) {
      asking.signal.throwIfAborted();
      if (this.#closing.signal.aborted) throw closed();
      const now = this.#options.clock.now();
      const lease = this.#lease;
      if (lease !== undefined && now < lease.expiresAt) {
        if (now >= lease.renewAt && leftOf(this.#quiet.span, now) === 0) this.#flight ??= this.#start(asking);
        return lease.value;
      }
      if (this.#failed !== undefined && leftOf(this.#failed.span, now) > 0) throw repeated(this.#failed.error);
      this.#flight ??= this.#start(asking);
      const flight = this.#flight;
      try {
        return await unlessAborted(flight.outcome, asking.signal);
      } catch (error) {
        // It failed because someone else left.
        if (flight.signal.aborted && !asking.signal.aborted) continue;
        throw error;
      }
    }
  }

  /** It was refused, or is out of date: not used again, unless another has taken its place already. */
  forget(value: T): void {
    if (this.#lease?.value !== value) return;
    this.#lease = undefined;
    this.#failed = undefined;
  }

  /** Ends what runs. */
  async close(): Promise<void> {
    this.#closing.abort(closed());
    await Promise.allSettled([this.#flight?.outcome]);
  }

  #start(asking: Asking): Flight<T> {
    const { clock, timeoutMs, what, obtain } = this.#options;
    const limit = new AbortController();
    const cancel = clock.after(timeoutMs, () => {
      const message = `${what} did not answer within ${timeoutMs / 1000} s`;
      limit.abort(new Failure("unreachable", message, { timedOut: true }));
    });
    const signal = AbortSignal.any([limit.signal, this.#closing.signal]);
    const post: Asking["post"] = (url, form, own = signal) => asking.post(url, form, own);
    const outcome = (async () => obtain({ signal, endpoint: asking.endpoint, post }))()
      .then(
        (lease) => {
          this.#lease = lease;
          this.#failed = undefined;
          this.#quiet = { span: OVER, ms: 0 };
          return lease.value;
        },
        (error: unknown) => {
          // What was asked for through one who left failed because they left: that says nothing.
          const isTheirs = asking.signal.aborted && error === asking.signal.reason;
          if (!isTheirs && !this.#closing.signal.aborted) this.#noteFailure(error);
          throw error;
        },
      )
      .finally(() => {
        cancel();
        this.#flight = undefined;
      });
    outcome.catch(() => {});
    return { outcome, signal: asking.signal };
  }

  #noteFailure(error: unknown): void {
    if (!isFailure(error)) return;
    const now = this.#options.clock.now();
    const isFirst = this.#quiet.ms === 0;
    const ms = Math.min(MAX_QUIET_MS, this.#quiet.ms * 2 || FAILED_MS);
    this.#quiet = { span: spanOf(now, ms), ms };
    if (this.#lease === undefined || now >= this.#lease.expiresAt)
      this.#failed = { error, span: spanOf(now, FAILED_MS) };
    else if (isFirst) this.#options.onFailure(error);
  }
}

/** An error is thrown to one: several who throw the same one would share its stack. */
function repeated({ kind, message, timedOut }: Failure): Failure {
  return new Failure(kind, message, { timedOut });
}

function closed(): Failure {
  return new Failure("unreachable", "the mirror is stopping");
}
