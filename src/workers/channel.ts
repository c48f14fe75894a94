/**
 * Two processes talking: questions that are answered, and posts that are not. Messages arrive in the order they were
 * sent, so who asks sees the effect of whatever it posted before.
 *
 * Both ends are of one program, so messages are believed. When the other end is gone, what was asked fails.
 */
import { Failure } from "../base/failure.ts";
import { type ErrorText, errorOfText, textOfError } from "./failures.ts";

export interface Port {
  /** @param sent called when the message has left, or never will. */
  send(message: object, sent?: () => void): void;
}

interface Message {
  readonly id?: number;
  readonly ask?: string;
  readonly post?: string;
  readonly value?: unknown;
  readonly error?: ErrorText;
}

/** How one end answers and what it does with posts. */
export interface Reception<InAsks, InPosts> {
  readonly answer: { readonly [K in keyof InAsks]: InAsks[K] };
  readonly take: { readonly [K in keyof InPosts]: (value: InPosts[K]) => void };
}

type Asked<F> = F extends (value: infer V) => unknown ? V : never;
type Answered<F> = F extends (value: never) => Promise<infer A> ? A : never;

export class Channel<OutAsks, OutPosts> {
  readonly #port: Port;
  readonly #waiting = new Map<number, PromiseWithResolvers<unknown>>();
  #serial = 0;
  #gone: Failure | undefined;

  constructor(port: Port) {
    this.#port = port;
  }

  ask<K extends keyof OutAsks & string>(what: K, value: Asked<OutAsks[K]>): Promise<Answered<OutAsks[K]>> {
    if (this.#gone !== undefined) return Promise.reject(this.#gone);
    this.#serial += 1;
    const waiting = Promise.withResolvers<unknown>();
    this.#waiting.set(this.#serial, waiting);
    this.#port.send({ id: this.#serial, ask: what, value });
    return waiting.promise as Promise<Answered<OutAsks[K]>>;
  }

  post<K extends keyof OutPosts & string>(what: K, value: OutPosts[K], sent?: () => void): void {
    if (this.#gone === undefined) this.#port.send({ post: what, value }, sent);
  }

  /** What the port receives is handed in here. */
  receive(raw: unknown, reception: Reception<object, object>): void {
    const message = raw as Message;
    const { id, ask, post, value, error } = message;
    const { answer, take } = reception as {
      answer: Record<string, (value: unknown) => Promise<unknown>>;
      take: Record<string, (value: unknown) => void>;
    };
    if (post !== undefined) take[post]?.(value);
    else if (ask !== undefined && id !== undefined) void this.#answer(id, answer[ask]?.(value));
    else if (id !== undefined) {
      const waiting = this.#waiting.get(id);
      this.#waiting.delete(id);
      if (error === undefined) waiting?.resolve(value);
      else waiting?.reject(errorOfText(error));
    }
  }

  /** The other end is gone. */
  close(): void {
    this.#gone = new Failure("overloaded", "the other process of the mirror has ended", { retryAfterMs: 1000 });
    for (const waiting of this.#waiting.values()) waiting.reject(this.#gone);
    this.#waiting.clear();
  }

  async #answer(id: number, outcome: Promise<unknown> | undefined): Promise<void> {
    let reply: Message;
    try {
      reply = { id, value: await outcome };
    } catch (error) {
      reply = { id, error: textOfError(error) };
    }
    if (this.#gone === undefined) this.#port.send(reply);
  }
}
