/** A real exchange over a request and a response that no socket is behind, and what was written to it. */
import { EventEmitter } from "node:events";
import type { IncomingHttpHeaders, IncomingMessage, OutgoingHttpHeaders, ServerResponse } from "node:http";
import { Exchange } from "../../src/http/exchange.ts";
import { recorded } from "../mirror/parts.ts";

/** As much of a response as answers are written with. */
export class FakeResponse extends EventEmitter {
  statusCode = 0;
  headers: OutgoingHttpHeaders = {};
  headersSent = false;
  destroyed = false;
  writableFinished = false;
  readonly socket = null;
  readonly chunks: Buffer[] = [];

  get body(): Buffer {
    return Buffer.concat(this.chunks);
  }

  writeHead(status: number, headers: OutgoingHttpHeaders): void {
    this.statusCode = status;
    this.headers = headers;
    this.headersSent = true;
  }

  flushHeaders(): void {}

  /** Lets go of the chunk a turn later, as a socket does. */
  write(chunk: Buffer, done?: (error?: Error | null) => void): boolean {
    this.chunks.push(Buffer.from(chunk));
    if (done !== undefined) setImmediate(done);
    return true;
  }

  end(body?: Buffer | string): void {
    if (body !== undefined) this.chunks.push(Buffer.from(body));
    this.writableFinished = true;
    this.emit("close");
  }

  destroy(): void {
    if (this.destroyed) return;
    this.destroyed = true;
    this.emit("close");
  }
}

export function fakeExchange(headers: IncomingHttpHeaders = { "x-request-id": "request-1" }, method = "GET") {
  const { notices, facts: answered } = recorded("answered");
  const response = new FakeResponse();
  const request = { headers, method, url: "/v2/?secret=1", socket: { remoteAddress: "192.0.2.1" } };
  const exchange = new Exchange(request as unknown as IncomingMessage, response as unknown as ServerResponse, notices);
  return { exchange, response, answered };
}
