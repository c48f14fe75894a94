/**
 * The cheapest HTTP/1.1 client that Node can be: a socket that reads into one buffer for all connections, and no more
 * parsing than `Content-Length` asks for.
 *
 * A request at a time per connection; the body is handed to `onBody` and forgotten. An answer without a length, or one
 * that breaks off, is an error.
 */
import { connect, type Socket } from "node:net";

export interface Want {
  readonly path: string;
  /** Value of the `Range` header. */
  readonly range?: string | undefined;
  readonly accept?: string | undefined;
  /** The chunk is valid during the call only. */
  readonly onBody?: (chunk: Buffer, offset: number) => void;
}

export interface Got {
  readonly status: number;
  readonly bodyBytes: number;
  /** From the request to the first byte of the body. */
  readonly firstByteMs: number;
  /** From the request to the last byte of the body. */
  readonly totalMs: number;
}

interface Pending {
  readonly want: Want;
  readonly startedAt: number;
  readonly resolve: (got: Got) => void;
  readonly reject: (error: Error) => void;
}

const HEAD_END = Buffer.from("\r\n\r\n");
// Every read is consumed before the next one begins, whichever connection it is for.
const shared = Buffer.allocUnsafeSlow(1024 * 1024);

export class Wire {
  readonly #socket: Socket;
  readonly #opened = Promise.withResolvers<void>();
  #pending: Pending | undefined;
  #head = Buffer.alloc(0);
  #status = 0;
  #expected: number | undefined;
  #received = 0;
  #firstByteMs = 0;

  private constructor(port: number) {
    const onread = {
      buffer: shared,
      callback: (count: number) => {
        this.#onRead(shared.subarray(0, count));
        return true;
      },
    };
    this.#socket = connect({ host: "127.0.0.1", port, noDelay: true, onread }, () => this.#opened.resolve());
    this.#socket.on("error", (error) => this.#fail(error));
    this.#socket.on("close", () => this.#fail(new Error("the server closed the connection")));
  }

  static async open(port: number): Promise<Wire> {
    const wire = new Wire(port);
    await wire.#opened.promise;
    return wire;
  }

  get(want: Want): Promise<Got> {
    return new Promise((resolve, reject) => {
      if (this.#pending !== undefined) throw new Error("one request at a time");
      const range = want.range === undefined ? "" : `Range: ${want.range}\r\n`;
      this.#head = Buffer.alloc(0);
      this.#expected = undefined;
      this.#received = 0;
      this.#pending = { want, startedAt: performance.now(), resolve, reject };
      this.#socket.write(
        `GET ${want.path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: ${want.accept ?? "*/*"}\r\n${range}\r\n`,
      );
    });
  }

  close(): void {
    this.#socket.destroy();
  }

  #onRead(chunk: Buffer): void {
    if (this.#pending === undefined) {
      this.#socket.destroy(new Error("bytes that nobody asked for"));
    } else if (this.#expected === undefined) {
      this.#onHead(chunk);
    } else {
      this.#onBody(chunk);
    }
  }

  #onHead(chunk: Buffer): void {
    this.#head = Buffer.concat([this.#head, chunk]);
    const end = this.#head.indexOf(HEAD_END);
    if (end < 0) return;
    const text = this.#head.toString("latin1", 0, end);
    const length = /\r\ncontent-length: *(\d+)/i.exec(text)?.[1];
    if (length === undefined) {
      this.#socket.destroy(new Error(`an answer without a length: ${text}`));
      return;
    }
    this.#status = Number(text.slice(9, 12));
    this.#expected = Number(length);
    this.#onBody(this.#head.subarray(end + HEAD_END.length));
  }

  #onBody(chunk: Buffer): void {
    const pending = this.#pending;
    if (pending === undefined) return;
    if (this.#received === 0) this.#firstByteMs = performance.now() - pending.startedAt;
    if (chunk.length > 0) pending.want.onBody?.(chunk, this.#received);
    this.#received += chunk.length;
    if (this.#received < (this.#expected ?? 0)) return;
    this.#pending = undefined;
    pending.resolve({
      status: this.#status,
      bodyBytes: this.#received,
      firstByteMs: this.#firstByteMs,
      totalMs: performance.now() - pending.startedAt,
    });
  }

  #fail(error: Error): void {
    this.#opened.reject(error);
    const pending = this.#pending;
    this.#pending = undefined;
    pending?.reject(error);
  }
}
