/**
 * How one upstream is talked to, whatever the question: within its time, with its authorization, the answer judged and
 * its body read or handed on. Builds what that takes from the configuration.
 *
 * The invariant: every answer's body is read to its end, destroyed, or in the hands of the caller.
 */
import type { Clock } from "../base/clock.ts";
import { Failure, isFailure } from "../base/failure.ts";
import type { Flow } from "../base/flow.ts";
import type { Emitter } from "../base/notices.ts";
import { Authorizer } from "./authorizer.ts";
import { type Announced, openBody, readNothing, readWhole } from "./body.ts";
import { codingOf, decodeWhole } from "./coding.ts";
import { ANONYMOUS } from "./credentials/credential.ts";
import { Deadline } from "./deadline.ts";
import { type ExchangeOptions, exchange, type Question, type Reply } from "./exchange.ts";
import type { Network } from "./network.ts";
import type { UpstreamNotices } from "./notices.ts";
import { DEFAULT_TIMEOUTS, type Timeouts, type UpstreamOptions } from "./options.ts";
import { contentLengthOf, judgeReply, mediaTypeOf } from "./outcome.ts";
import { Secrets } from "./secrets.ts";
import { Sender } from "./sender.ts";
import { Tokens } from "./tokens.ts";
import { type Answer, headerOf, openTransport, type Transport } from "./transport.ts";
import { failureOf } from "./trouble.ts";
import { type Absence, isAbsence } from "./upstream.ts";

export interface UpstreamSurroundings {
  readonly notices: Emitter<UpstreamNotices>;
  readonly clock: Clock;
  /** How this mirror signs requests in `Via`, so that it knows one that comes back to it; default `wharfinger`. */
  readonly signature?: string;
  readonly network?: Network | undefined;
}

/** One question, with the statuses that answer it. */
export type Call = Omit<Question, "signal" | "headers"> & {
  readonly accept: string;
  readonly range?: string | undefined;
  readonly wanted: readonly number[];
};

export class Conversation {
  readonly #name: string;
  readonly #clock: Clock;
  readonly #timeouts: Timeouts;
  readonly #transport: Transport;
  readonly #sender: Sender;
  readonly #exchange: ExchangeOptions;

  /** @throws Failure `invalid` for an unreadable TLS file. */
  constructor(name: string, endpoint: URL, options: UpstreamOptions, surroundings: UpstreamSurroundings) {
    const { notices, clock, signature = "wharfinger" } = surroundings;
    this.#name = name;
    this.#clock = clock;
    this.#timeouts = { ...DEFAULT_TIMEOUTS, ...options.timeouts };
    this.#transport = openTransport(name, [endpoint], options, this.#timeouts, clock, surroundings.network);
    const source = options.credentials[0]?.source ?? ANONYMOUS;
    const secrets = new Secrets();
    const sender = new Sender({
      name,
      endpoint,
      secrets,
      transport: this.#transport,
      notices,
      clock,
      account: source.account,
      signature,
    });
    this.#sender = sender;
    const ownTokens = new Tokens(clock);
    // Apart from ours: a host that a redirect led to must never be handed what our account obtained.
    const guestTokens = new Tokens(clock);
    const authorizerAt = (origin: URL, own: boolean) =>
      new Authorizer({
        name,
        endpoint: origin,
        source: own ? source : ANONYMOUS,
        tokenRealm: own ? options.tokenRealm : null,
        tokens: own ? ownTokens : guestTokens,
        sender,
        secrets,
        clock,
        timeoutMs: this.#timeouts.headersMs,
      });
    const authorizer = authorizerAt(endpoint, true);
    this.#exchange = { name, endpoint, sender, authorizer, guestOf: (origin) => authorizerAt(origin, false) };
  }

  /** Headers only. */
  async head<T>(call: Call, signal: AbortSignal, read: (answer: Answer) => T): Promise<T | Absence> {
    const deadline = this.#startDeadline(signal);
    try {
      const reply = await this.#ask(call, deadline.signal);
      if (isAbsence(reply)) return reply;
      // A HEAD's body is empty and frees its connection; that of a GET in its place may be gigabytes.
      if (reply.method === "HEAD") readNothing(reply.answer.body);
      else reply.answer.body.destroy();
      return read(reply.answer);
    } finally {
      deadline.lift();
    }
  }

  /** A whole body of at most `maxBytes`, decoded. @throws Failure `corrupt` where it is larger. */
  async document<T>(
    call: Call,
    maxBytes: number,
    signal: AbortSignal,
    read: (bytes: Buffer, answer: Answer, mediaType: string | undefined) => T,
  ): Promise<T | Absence> {
    const deadline = this.#startDeadline(signal);
    try {
      const reply = await this.#ask(call, deadline.signal);
      if (isAbsence(reply)) return reply;
      const { answer } = reply;
      deadline.set(this.#timeouts.bodyMs, `${this.#name} did not send the whole of its answer in time`);
      const announced = this.#announced(reply, contentLengthOf(answer), deadline.signal);
      const bytes = await readWhole(answer.body, maxBytes, announced);
      const decoded = await decodeWhole(bytes, codingOfAnswer(answer), maxBytes);
      return read(decoded, answer, mediaTypeOf(this.#name, answer));
    } catch (error) {
      // A body broken off by the caller is the caller's reason, as everywhere.
      signal.throwIfAborted();
      throw error;
    } finally {
      deadline.lift();
    }
  }

  /**
   * A body as a flow; `read` says how many bytes it must bring, and may refuse it by a throw. The time limit ends with
   * the headers, the signal governs the body as well.
   * @param onEnd called when no more bytes come, of a body that `read` opened.
   */
  async stream<T>(
    call: Call,
    signal: AbortSignal,
    read: (answer: Answer, open: (bytes: number | undefined) => Flow) => T,
    onEnd: () => void,
  ): Promise<T | Absence> {
    const deadline = this.#startDeadline(signal);
    try {
      const reply = await this.#ask(call, deadline.signal);
      if (isAbsence(reply)) return reply;
      const { answer } = reply;
      try {
        return read(answer, (bytes) => {
          const announced = this.#announced(reply, bytes, deadline.signal, onEnd);
          return openBody(answer.body, codingOfAnswer(answer), announced);
        });
      } catch (error) {
        answer.body.destroy();
        throw error;
      }
    } finally {
      deadline.lift();
    }
  }

  async close(): Promise<void> {
    await this.#transport.close();
  }

  /** A reply of a wanted status, its body still to be read. */
  async #ask(call: Call, signal: AbortSignal): Promise<Reply | Absence> {
    const { accept, range, wanted, ...rest } = call;
    const headers = { accept, ...(range === undefined ? {} : { range }) };
    const reply = await exchange(this.#exchange, { ...rest, headers, signal });
    if (isAbsence(reply)) return reply;
    try {
      const absence = judgeReply(this.#name, call.kind, reply, {
        wanted,
        now: this.#clock.now(),
        hide: (text) => this.#sender.hide(text),
      });
      if (absence === undefined) return reply;
      reply.answer.body.destroy();
      return absence;
    } catch (error) {
      reply.answer.body.destroy();
      throw error;
    }
  }

  #announced(reply: Reply, bytes: number | undefined, signal: AbortSignal, onEnd = () => {}): Announced {
    return {
      bytes,
      explain: (error) => {
        if (!signal.aborted) return failureOf(error, this.#name, reply.url);
        const reason: unknown = signal.reason;
        return isFailure(reason) ? reason : new Failure("unreachable", "the request was given up", { cause: reason });
      },
      onEnd: (received) => {
        onEnd();
        this.#sender.noteBytes(received);
      },
    };
  }

  #startDeadline(signal: AbortSignal): Deadline {
    const deadline = new Deadline(this.#clock, signal);
    deadline.set(this.#timeouts.headersMs, `${this.#name} did not answer in time`);
    return deadline;
  }
}

export function codingOfAnswer(answer: Answer): string {
  return codingOf(headerOf(answer, "content-encoding"));
}
