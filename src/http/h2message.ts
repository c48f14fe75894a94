/**
 * A request and its answer on one HTTP/2 stream, in the shape that the handlers know from HTTP/1.1.
 *
 * Node's own such shape (its compatibility API) costs a tenth more processor time on a small answer, warns of headers
 * that HTTP/2 leaves out, and fails where a connection's address is asked for after its end. This one has what the
 * handlers use, and no more.
 */
import { EventEmitter } from "node:events";
import type { OutgoingHttpHeader, OutgoingHttpHeaders } from "node:http";
import { constants, type IncomingHttpHeaders, type ServerHttp2Stream } from "node:http2";

/** RFC 9113 §8.2.2: these speak of a connection that is not ours to speak of. */
const OF_THE_CONNECTION: ReadonlySet<string> = new Set([
  "connection",
  "keep-alive",
  "proxy-connection",
  "transfer-encoding",
  "upgrade",
]);

export class H2Request {
  readonly httpVersion = "2.0";
  readonly method: string;
  readonly url: string;
  readonly headers: IncomingHttpHeaders;
  readonly socket: { readonly encrypted: true; readonly remoteAddress: string | undefined };

  /** @param hasBody the stream goes on after the headers. */
  constructor(headers: IncomingHttpHeaders, hasBody: boolean, remoteAddress: string | undefined) {
    const { ":method": method, ":path": path, ":authority": authority } = headers;
    this.method = method ?? "";
    this.url = path ?? "";
    this.headers = headers;
    // RFC 9113 §8.3.1: `:authority` is what `Host` is elsewhere, and goes before it.
    if (authority !== undefined) headers.host = authority;
    // A body of no announced length is told from none by this header, in HTTP/1.1.
    if (hasBody) headers["transfer-encoding"] = "chunked";
    this.socket = { encrypted: true, remoteAddress };
  }
}

/** Emits `drain` as a writable does, and `close` once, when nothing more can leave. */
export class H2Response extends EventEmitter {
  /** There is no socket that an answer could have for itself. */
  readonly socket = null;
  /** What should be written at once at most. */
  readonly chunkBytes: number;
  statusCode = 0;
  readonly #stream: ServerHttp2Stream;
  readonly #headers: OutgoingHttpHeaders = {};
  #ended = false;
  #brokenOff = false;

  constructor(stream: ServerHttp2Stream, chunkBytes: number) {
    super();
    this.chunkBytes = chunkBytes;
    this.#stream = stream;
    // A client's reset, or the connection's end: `close` follows, and says all that there is to say.
    stream.on("error", () => {});
    stream.on("drain", () => this.emit("drain"));
    stream.once("close", () => this.emit("close"));
  }

  get headersSent(): boolean {
    return this.#stream.headersSent;
  }

  get destroyed(): boolean {
    return this.#brokenOff || this.#stream.destroyed || this.#stream.closed;
  }

  get writableEnded(): boolean {
    return this.#ended;
  }

  /** True where everything up to the end has left; a stream that is reset ends as well, but not so. */
  get writableFinished(): boolean {
    return this.#ended && !this.#brokenOff && this.#stream.writableFinished && !isReset(this.#stream);
  }

  get writableLength(): number {
    return this.#stream.writableLength;
  }

  setHeader(name: string, value: OutgoingHttpHeader): this {
    if (!OF_THE_CONNECTION.has(name.toLowerCase())) this.#headers[name] = value;
    return this;
  }

  writeHead(status: number, headers: OutgoingHttpHeaders = {}): this {
    this.statusCode = status;
    for (const [name, value] of Object.entries(headers)) if (value !== undefined) this.setHeader(name, value);
    return this;
  }

  flushHeaders(): void {
    if (this.headersSent || this.destroyed) return;
    this.#headers[":status"] = this.statusCode;
    this.#stream.respond(this.#headers);
  }

  /** False asks to wait for `drain`. `done` is called when the client's window has let all of it leave. */
  write(bytes: Buffer, done?: (error: Error | null | undefined) => void): boolean {
    if (this.destroyed) {
      if (done !== undefined) process.nextTick(done, new Error("the stream has ended"));
      return false;
    }
    this.flushHeaders();
    return this.#stream.write(bytes, done);
  }

  end(body?: Buffer | string, encoding: BufferEncoding = "utf8"): this {
    if (this.#ended || this.destroyed) return this;
    this.#ended = true;
    this.flushHeaders();
    if (body === undefined) this.#stream.end();
    else this.#stream.end(body, encoding);
    return this;
  }

  destroy(): this {
    this.#brokenOff = true;
    this.#reset();
    return this;
  }

  /** Resets the stream after what was written, short of its end: nobody takes a reset body for a whole one. */
  breakOff(): void {
    if (this.destroyed) return;
    this.#brokenOff = true;
    if (this.#stream.writableLength === 0) this.#reset();
    else this.#stream.write(Buffer.alloc(0), () => this.#reset());
  }

  /** By an error, which becomes INTERNAL_ERROR: `close(code)` would end the body first, as if it were whole. */
  #reset(): void {
    if (!this.#stream.destroyed) this.#stream.destroy(new Error("broken off"));
  }
}

function isReset({ rstCode }: ServerHttp2Stream): boolean {
  return rstCode !== undefined && rstCode !== constants.NGHTTP2_NO_ERROR;
}
