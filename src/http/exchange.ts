/**
 * One request and its answer, from the headers' arrival to the moment the answer is gone; what it knows of itself at the
 * end is the access log's line and the metrics' sample, emitted once.
 */
import type { IncomingMessage, OutgoingHttpHeaders, ServerResponse } from "node:http";
import type { Emitter } from "../base/notices.ts";
import type { AnsweredFact, CacheLabel, MirrorNotices } from "../mirror/notices.ts";
import { H2Response } from "./h2message.ts";
import { findRequestId, newRequestId } from "./requestid.ts";

const SMALL_BODY_BYTES = 64 * 1024;
/** containerd waits 30 s for headers. */
const HEAD_PATIENCE_MS = 5000;

export class Exchange {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly requestId: string;
  /** The answer's bytes leave as they are, on a socket of its own: neither TLS nor HTTP/2. */
  readonly plain: boolean;
  upstream: string | undefined;
  kind: AnsweredFact["kind"] = "other";
  repository: string | undefined;
  reference: string | undefined;
  cache: CacheLabel = "none";
  error: Error | undefined;
  bytes = 0;
  readonly #notices: Emitter<MirrorNotices>;
  readonly #startedAt = performance.now();
  /** A connection that has ended tells its address no more. */
  readonly #remoteAddress: string | undefined;
  #head: { readonly status: number; readonly headers: OutgoingHttpHeaders } | undefined;
  #patience: NodeJS.Timeout | undefined;
  #firstByteAt: number | undefined;
  #abort: AbortController | undefined;
  #gone = false;

  constructor(request: IncomingMessage, response: ServerResponse, notices: Emitter<MirrorNotices>) {
    this.request = request;
    this.response = response;
    this.#notices = notices;
    this.plain = !("encrypted" in request.socket);
    this.#remoteAddress = request.socket.remoteAddress;
    this.requestId = findRequestId(request.headers["x-request-id"]) ?? newRequestId();
    response.once("close", () => this.#close());
  }

  /** Aborts when the client leaves. Made on first use: most answers never wait. */
  get signal(): AbortSignal {
    if (this.#abort === undefined) {
      this.#abort = new AbortController();
      if (this.#gone) this.#abort.abort(new ClientGone());
    }
    return this.#abort.signal;
  }

  get gone(): boolean {
    return this.#gone;
  }

  get wantsBody(): boolean {
    return this.request.method !== "HEAD";
  }

  /** What should be written at once at most; many streams of HTTP/2 share one connection's memory. */
  get chunkBytes(): number {
    return this.response instanceof H2Response ? this.response.chunkBytes : Number.POSITIVE_INFINITY;
  }

  /** True once headers have left: nothing but the body, or a broken connection, can follow. */
  get begun(): boolean {
    return this.response.headersSent;
  }

  /** Sets the headers. They leave with the first bytes of the body, so until then the answer can still become an error. */
  head(status: number, headers: OutgoingHttpHeaders): void {
    this.#head = { status, headers };
  }

  /** For a body that has to be waited for: clients give up on headers long before they give up on a body. */
  headSoon(): void {
    clearTimeout(this.#patience);
    if (this.begun) return;
    this.#patience = setTimeout(() => {
      this.#begin();
      this.response.flushHeaders();
    }, HEAD_PATIENCE_MS);
  }

  /** Hands bytes of the body to the socket. False asks to wait for the response's `drain`. */
  write(bytes: Buffer, done?: (error: Error | null | undefined) => void): boolean {
    if (this.#firstByteAt === undefined) {
      this.#firstByteAt = performance.now();
      this.#begin();
    }
    this.bytes += bytes.length;
    return this.response.write(bytes, done);
  }

  /** Ends the answer, with its whole body or none. */
  end(body?: Buffer): void {
    this.#firstByteAt ??= performance.now();
    this.#begin();
    if (body === undefined || !this.wantsBody) {
      this.response.end();
      return;
    }
    this.bytes += body.length;
    // As a string, a small body leaves in one write with its headers.
    if (body.length <= SMALL_BODY_BYTES) this.response.end(body.toString("latin1"), "latin1");
    else this.response.end(body);
  }

  /**
   * Breaks the connection, or the stream of HTTP/2, off, short of the announced length. What was handed to the socket still leaves: the client can
   * go on from there.
   */
  cut(error: Error): void {
    this.error ??= error;
    if (this.response instanceof H2Response) {
      this.response.breakOff();
      return;
    }
    const { socket } = this.response;
    if (socket === null) this.response.destroy();
    else socket.destroySoon();
  }

  #begin(): void {
    clearTimeout(this.#patience);
    const head = this.#head;
    if (head === undefined) return;
    this.#head = undefined;
    this.response.writeHead(head.status, head.headers);
  }

  #close(): void {
    this.#gone = true;
    clearTimeout(this.#patience);
    const { request, response } = this;
    const complete = response.writableFinished;
    if (!complete) this.#abort?.abort(new ClientGone());
    const target = request.url ?? "";
    const mark = target.indexOf("?");
    const now = performance.now();
    this.#notices.emit("answered", {
      requestId: this.requestId,
      method: request.method ?? "",
      path: mark < 0 ? target : target.slice(0, mark),
      remoteAddress: this.#remoteAddress,
      userAgent: request.headers["user-agent"],
      upstream: this.upstream,
      kind: this.kind,
      repository: this.repository,
      reference: this.reference,
      status: response.headersSent ? response.statusCode : 0,
      bytes: this.bytes,
      firstByteMs: this.#firstByteAt === undefined ? undefined : this.#firstByteAt - this.#startedAt,
      totalMs: now - this.#startedAt,
      cache: this.cache,
      aborted: !complete && this.error === undefined,
      error: this.error,
    });
  }
}

/** Why an exchange's signal aborts. Nobody is left to tell. */
export class ClientGone extends Error {
  override readonly name = "ClientGone";
  constructor() {
    super("the client has left");
  }
}
