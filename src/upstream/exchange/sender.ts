/**
 * One exchange with one host: our headers, one notice, and errors told as `Failure`s.
 *
 * Follows nothing and answers no challenge; that is for `exchange.ts`. Every connection error leaves as a `Failure`,
 * an abort as its own reason.
 */
import { readFileSync } from "node:fs";
import type { Clock } from "../../base/clock.ts";
import { Failure, isFailure } from "../../base/failure.ts";
import type { Emitter } from "../../base/notices.ts";
import type { Secrets } from "../auth/secrets.ts";
import type { Trial } from "../endpoints/circuit.ts";
import { isOfEndpoint, speaksForEndpoint } from "../endpoints/retry.ts";
import type { Asked, RateBudget } from "../limits/budget.ts";
import type { Rate } from "../limits/rate.ts";
import { findLimits } from "../limits/ratelimit.ts";
import { type Answer, headerOf, type Lane, type Method, type Transport } from "../network/transport.ts";
import type { RequestKind, UpstreamNotices } from "../notices.ts";
import { readExcerpt } from "./body.ts";
import { redactUrl } from "./redact.ts";
import { failureOf, failureOfBudget, findRetryAfter, wasStaleConnection } from "./trouble.ts";

const MAX_ERROR_BYTES = 64 * 1024;

const USER_AGENT = `wharfinger/${readVersion()}`;

export interface SenderOptions {
  readonly name: string;
  /** Where the registry's API is: only its own word on limits counts. */
  readonly endpoint: URL;
  readonly secrets: Secrets;
  readonly transport: Transport;
  readonly notices: Emitter<UpstreamNotices>;
  readonly clock: Clock;
  /** Whose limits the upstream counts. */
  readonly account: string;
  /** Sent in `Via`. */
  readonly signature: string;
  /** What the account may ask. */
  readonly budget: RateBudget;
  /** Our own limit, where there is one. */
  readonly rate: Rate | undefined;
}

export interface Letter {
  readonly kind: RequestKind;
  readonly method: Method | "POST";
  readonly lane: Lane;
  /** Of a POST. */
  readonly body?: string;
  /** Besides what is always sent. */
  readonly headers: Readonly<Record<string, string>>;
  readonly signal: AbortSignal;
  /** It had its turn in our own line. */
  readonly hadItsTurn?: boolean;
  /** Told what the endpoint answers; token servers and storage are not it. */
  readonly trial?: Trial;
}

export class Sender {
  readonly #options: SenderOptions;
  /** What the budget has not been told yet, for want of the error's text. */
  readonly #unread = new WeakMap<Answer, Asked>();

  constructor(options: SenderOptions) {
    this.#options = options;
  }

  async send(url: URL, letter: Letter): Promise<Answer> {
    const trial = url.origin === this.#options.endpoint.origin ? letter.trial : undefined;
    if (trial === undefined) return await this.#send(url, letter);
    try {
      const answer = await this.#send(url, letter);
      if (speaksForEndpoint(answer.status)) trial.failed(this.#troubleOf(answer));
      else trial.answered();
      return answer;
    } catch (error) {
      // Who leaves says nothing of it; whose time ran out does.
      const left = letter.signal.aborted && !(isFailure(error) && error.timedOut);
      if (!left && isFailure(error) && isOfEndpoint(error)) trial.failed(error);
      throw error;
    }
  }

  async #send(url: URL, letter: Letter): Promise<Answer> {
    const { signal } = letter;
    try {
      return await this.#once(url, letter);
    } catch (error) {
      if (signal.aborted) throw signal.reason;
      if (!wasStaleConnection(error)) throw failureOf(error, this.#options.name, url);
    }
    try {
      return await this.#once(url, letter);
    } catch (error) {
      throw signal.aborted ? signal.reason : failureOf(error, this.#options.name, url);
    }
  }

  async #once(url: URL, { kind, method, lane, headers, signal, body, hadItsTurn, trial }: Letter): Promise<Answer> {
    const { name, endpoint, transport, notices, clock, signature, secrets, budget, rate } = this.#options;
    if (headers.authorization !== undefined) secrets.note(headers.authorization);
    signal.throwIfAborted();
    const startedAt = clock.now();
    let status = 0;
    const counts = url.origin === endpoint.origin && method !== "POST";
    // Whoever chose the account looked before there was a token, or a place in line; others may have been faster.
    const waitMs = counts ? budget.waitMs({ kind, method }) : 0;
    if (waitMs > 0) throw failureOfBudget(name, budget.view, waitMs);
    if (counts && hadItsTurn !== true) rate?.charge();
    const asked = counts ? budget.begin({ kind, method }) : undefined;
    if (counts) trial?.asked();
    try {
      const answer = await transport.request(url, {
        method,
        lane,
        signal,
        body,
        headers: {
          "user-agent": USER_AGENT,
          via: `1.1 ${signature}`,
          "accept-encoding": "identity",
          ...headers,
        },
      });
      status = answer.status;
      this.#noteLimits(answer, url);
      if (asked !== undefined) {
        if (status >= 400) this.#unread.set(answer, asked);
        else asked.answered({ status, headers: answer.headers, errorBody: "", now: clock.now() });
      }
      return answer;
    } catch (error) {
      asked?.failed();
      throw error;
    } finally {
      notices.emit("upstreamRequest", { upstream: name, kind, method, status, durationMs: clock.now() - startedAt });
    }
  }

  /** A text of the upstream's without our secrets. */
  hide(text: string): string {
    return this.#options.secrets.hide(text);
  }

  /** Origin and path of a URL of the upstream's. */
  show(url: URL): string {
    return this.#options.secrets.hideInUrl(redactUrl(url));
  }

  /** Ends an answer whose body only matters for its beginning; the connection is kept where it is short. */
  async finish(answer: Answer): Promise<string> {
    const bytes = await readExcerpt(answer.body, MAX_ERROR_BYTES);
    this.noteBytes(bytes.length);
    const text = bytes.toString("utf8");
    const { status, headers } = answer;
    this.#unread.get(answer)?.answered({ status, headers, errorBody: text, now: this.#options.clock.now() });
    return text;
  }

  noteBytes(bytes: number): void {
    if (bytes > 0) this.#options.notices.emit("upstreamBytes", { upstream: this.#options.name, bytes });
  }

  noteTrouble(message: string, detail?: unknown): void {
    const { name: upstream, account, notices } = this.#options;
    notices.emit("upstreamTrouble", { upstream, message, account, ...(detail === undefined ? {} : { detail }) });
  }

  retryAfterOf(answer: Answer): number | undefined {
    return findRetryAfter(headerOf(answer, "retry-after"), this.#options.clock.now());
  }

  #troubleOf(answer: Answer): Failure {
    const { name } = this.#options;
    return new Failure("unreachable", `${name} answered ${answer.status}`, { upstreamStatus: answer.status });
  }

  #noteLimits(answer: Answer, url: URL): void {
    const { name, notices, account, endpoint } = this.#options;
    if (answer.status === 429) {
      notices.emit("upstreamLimited", { upstream: name, account, retryAfterMs: this.retryAfterOf(answer) });
    }
    if (url.origin !== endpoint.origin) return;
    const said = findLimits(answer.headers, this.#options.clock.now());
    if (said === undefined) return;
    const { limit, remaining, source, resetMs } = said;
    notices.emit("rateLimit", {
      upstream: name,
      account,
      limit,
      remaining,
      ...(source === undefined ? {} : { source }),
      ...(resetMs === undefined ? {} : { resetMs }),
    });
  }
}

function readVersion(): string {
  try {
    const found: unknown = JSON.parse(readFileSync(new URL("../../../package.json", import.meta.url), "utf8"));
    if (typeof found === "object" && found !== null && "version" in found) return String(found.version);
  } catch {
    // Bundled without its package.json: the version is not worth failing for.
  }
  return "0";
}
