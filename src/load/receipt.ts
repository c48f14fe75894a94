/**
 * The receiving end of one request: its answer's head and body, its times, and the one way it ends.
 *
 * Whatever happens, `answer` settles once and the life of the run watches the request no longer.
 */
import type { ClientRequest, IncomingHttpHeaders, IncomingMessage } from "node:http";
import type { Readable } from "node:stream";
import { createGunzip, createInflate, createZstdDecompress } from "node:zlib";
import { errnoOf } from "../base/failure.ts";
import type { Life, Watched } from "./life.ts";
import { Mishap, mishapOf, Stopped } from "./mishap.ts";

/** Takes a body; the next bytes come when what it returned has resolved. */
export type Sink = (bytes: Buffer) => Promise<void> | undefined;

export interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  /** What was kept of the body: all of it without a sink, nothing with one. */
  readonly body: Buffer;
  readonly bytes: number;
  /** From the first request, before redirects, to the first byte of the body (or its end, where it is empty). */
  readonly firstByteMs: number;
  readonly totalMs: number;
}

/** What is counted of everything that is received. */
export interface Meter {
  received(bytes: number): void;
  answered(): void;
}

export interface ReceiptOptions {
  readonly startedAt: number;
  readonly timeoutMs: number;
  readonly life: Life;
  readonly meter: Meter;
  readonly sink: Sink | undefined;
  readonly keepBytes: number;
  readonly enoughBytes: number | undefined;
}

export class Receipt {
  readonly #options: ReceiptOptions;
  readonly #settled = Promise.withResolvers<Answer | "stale connection">();
  readonly #watched: Watched;
  readonly #kept: Buffer[] = [];
  #request: ClientRequest | undefined;
  #message: IncomingMessage | undefined;
  #bytes = 0;
  #firstByteMs: number | undefined;
  #done = false;

  constructor(options: ReceiptOptions) {
    this.#options = options;
    this.#watched = { dueAt: performance.now() + options.timeoutMs, end: (reason) => this.#cut(reason) };
    options.life.watch(this.#watched);
  }

  get answer(): Promise<Answer | "stale connection"> {
    return this.#settled.promise;
  }

  follow(request: ClientRequest): void {
    this.#request = request;
    request.on("response", (message) => this.#receive(message));
    request.on("error", (error) => {
      const stale = request.reusedSocket && this.#message === undefined && errnoOf(error) === "ECONNRESET";
      if (stale) this.#settle("stale connection");
      else this.#fail(error);
    });
    request.on("close", () => {
      // What has come whole may still be on its way through a decoder or a slow reader.
      if (this.#message?.complete !== true) this.#fail(new Error("the connection was closed"));
    });
  }

  #receive(message: IncomingMessage): void {
    this.#message = message;
    this.#options.meter.answered();
    this.#progress();
    const body = decoded(message);
    const good = message.statusCode === 200 || message.statusCode === 206;
    const sink = good ? this.#options.sink : undefined;
    message.on("error", (error) => this.#fail(error));
    message.on("close", () => {
      if (!message.complete) this.#fail(new Error("the connection was closed"));
    });
    if (body !== message) body.on("error", (error) => this.#fail(error));
    body.on("data", (bytes: Buffer) => this.#take(bytes, body, sink));
    body.on("end", () => {
      if (message.complete) this.#succeed();
      else this.#fail(new Error("the connection was closed"));
    });
  }

  #take(bytes: Buffer, body: Readable, sink: Sink | undefined): void {
    if (this.#done) return;
    this.#firstByteMs ??= performance.now() - this.#options.startedAt;
    const enough = this.#options.enoughBytes;
    const wanted = enough === undefined ? bytes : bytes.subarray(0, Math.max(0, enough - this.#bytes));
    this.#bytes += wanted.length;
    this.#options.meter.received(wanted.length);
    this.#progress();
    if (sink === undefined) {
      if (this.#bytes > this.#options.keepBytes) {
        this.#tooLong();
        return;
      }
      this.#kept.push(wanted);
    }
    const wait = sink?.(wanted);
    if (enough !== undefined && this.#bytes >= enough) {
      this.#succeed();
      // Where the body ends here anyway, the connection is good for another request.
      if (this.#message?.complete !== true) this.#request?.destroy();
      return;
    }
    if (wait !== undefined) this.#pause(body, wait);
  }

  /** Of a refusal the beginning is enough; what was asked for must be whole. */
  #tooLong(): void {
    if (this.#message?.statusCode === 200) {
      this.#fail(new Mishap("bad answer", `a body of more than ${this.#options.keepBytes} bytes`));
      return;
    }
    this.#succeed();
    this.#request?.destroy();
  }

  #pause(body: Readable, wait: Promise<void>): void {
    body.pause();
    this.#watched.dueAt = Infinity;
    wait.then(
      () => {
        this.#progress();
        body.resume();
      },
      (error: unknown) => this.#cut(error instanceof Error ? error : new Error(String(error))),
    );
  }

  #progress(): void {
    this.#watched.dueAt = performance.now() + this.#options.timeoutMs;
  }

  #succeed(): void {
    const totalMs = performance.now() - this.#options.startedAt;
    this.#settle({
      status: this.#message?.statusCode ?? 0,
      headers: this.#message?.headers ?? {},
      body: Buffer.concat(this.#kept),
      bytes: this.#bytes,
      firstByteMs: this.#firstByteMs ?? totalMs,
      totalMs,
    });
  }

  #cut(reason: Error | undefined): void {
    this.#fail(reason ?? new Mishap("timeout", this.#stalledText()));
  }

  #stalledText(): string {
    const seconds = `${this.#options.timeoutMs / 1000} s`;
    if (this.#message === undefined) return `no answer for ${seconds}`;
    return `no further byte for ${seconds}, after ${this.#bytes} bytes`;
  }

  #fail(error: Error): void {
    if (this.#done) return;
    const answered = this.#message !== undefined;
    this.#end();
    this.#request?.destroy();
    this.#settled.reject(error instanceof Stopped ? error : mishapOf(error, answered));
  }

  #settle(answer: Answer | "stale connection"): void {
    if (this.#done) return;
    this.#end();
    this.#settled.resolve(answer);
  }

  #end(): void {
    this.#done = true;
    this.#options.life.unwatch(this.#watched);
  }
}

/** The digest is of the identity form, whatever encoding it travelled in. */
function decoded(message: IncomingMessage): Readable {
  const decoder = decoderFor(message.headers["content-encoding"]);
  return decoder === undefined ? message : message.pipe(decoder);
}

function decoderFor(encoding: string | undefined) {
  switch (encoding?.trim().toLowerCase()) {
    case "gzip":
    case "x-gzip":
      return createGunzip();
    case "deflate":
      return createInflate();
    case "zstd":
      return createZstdDecompress();
    default:
      return undefined;
  }
}
