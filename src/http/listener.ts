/**
 * A listening HTTP/1.1 server whose every wait is bounded, and its end: drained first, broken off after the grace period.
 */
import { createServer, type RequestListener, type Server, STATUS_CODES } from "node:http";
import type { AddressInfo, Socket } from "node:net";
import type { Duplex } from "node:stream";
import { errnoOf, Failure, messageOf } from "../base/failure.ts";
import { errorEnvelope } from "../oci/codes.ts";

export interface ListenerLimits {
  /** More connections than this are closed as they come. */
  readonly maxConnections: number;
  /** Until a request's headers are complete. */
  readonly headersTimeoutMs: number;
  /** Clients keep idle connections for 30 to 120 s; ours must outlive theirs. */
  readonly keepAliveMs: number;
  /** A connection on which nothing moves for so long, in either direction, is closed. */
  readonly stallMs: number;
  readonly maxHeaderBytes: number;
}

export const DEFAULT_LIMITS: ListenerLimits = {
  maxConnections: 16_384,
  headersTimeoutMs: 20_000,
  keepAliveMs: 130_000,
  stallMs: 300_000,
  maxHeaderBytes: 16 * 1024,
};

/** Longer timers fire at once. */
const MAX_TIMER_MS = 2 ** 31 - 1;

/** Whoever takes new connections before the HTTP server does. */
export interface Welcome {
  /**
   * @param firstMs how long the connection may stay silent at first.
   * @param handOver makes it the HTTP server's, with the bytes that were read of it; called at most once.
   */
  take(socket: Socket, firstMs: number, handOver: (socket: Socket, read: Buffer) => void): void;
  /** Ends the connections that were not handed over and have nothing to do. */
  closeIdle(): void;
}

export interface Address {
  readonly host: string;
  readonly port: number;
}

export class Listener {
  readonly #server: Server;
  readonly #welcome: Welcome | undefined;
  #draining = false;

  /** @param welcome sees plain connections first; what it hands over becomes the HTTP server's. */
  constructor(handle: RequestListener, limits: ListenerLimits = DEFAULT_LIMITS, welcome?: Welcome) {
    this.#server = createServer(
      {
        keepAliveTimeout: limits.keepAliveMs,
        headersTimeout: limits.headersTimeoutMs,
        requestTimeout: limits.headersTimeoutMs + 10_000,
        connectionsCheckingInterval: Math.min(5000, limits.headersTimeoutMs),
        maxHeaderSize: limits.maxHeaderBytes,
        noDelay: true,
        highWaterMark: 256 * 1024,
      },
      (request, response) => {
        if (this.#draining) response.setHeader("Connection", "close");
        handle(request, response);
      },
    );
    this.#welcome = welcome;
    if (welcome !== undefined) this.#welcomeFirst(welcome, limits.headersTimeoutMs);
    this.#server.maxConnections = limits.maxConnections;
    this.#server.timeout = limits.stallMs;
    this.#server.on("clientError", answerBroken);
    // `Expect` is for bodies, and nothing here takes one: the handler answers as it would without.
    this.#server.on("checkExpectation", (request, response) => this.#server.emit("request", request, response));
  }

  /** @throws Failure `overloaded`: the address cannot be had from this machine; the message says why. */
  async start(address: Address): Promise<Address> {
    await new Promise<void>((resolve, reject) => {
      // Stays: after this has begun, an error of the listening socket ends nobody's connection.
      this.#server.on("error", (cause) => reject(listenFailure(address, cause)));
      this.#server.listen({ host: address.host, port: address.port, backlog: 4096 }, resolve);
    });
    const bound = this.#server.address() as AddressInfo;
    return { host: bound.address, port: bound.port };
  }

  /** Takes no new connections; running answers may end within the grace period, and are broken off after it. */
  async stop(graceMs: number): Promise<void> {
    this.#draining = true;
    if (!this.#server.listening) return;
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    // An answer that began before the drain leaves its connection idle when it ends, not closed.
    const sweep = setInterval(() => {
      this.#server.closeIdleConnections();
      this.#welcome?.closeIdle();
    }, 100);
    this.#welcome?.closeIdle();
    const timer = setTimeout(() => this.#server.closeAllConnections(), Math.min(graceMs, MAX_TIMER_MS));
    await closed;
    clearInterval(sweep);
    clearTimeout(timer);
  }

  /** The server's own listener for connections is called by hand, for those that are handed over. */
  #welcomeFirst(welcome: Welcome, firstMs: number): void {
    const own = this.#server.listeners("connection");
    this.#server.removeAllListeners("connection");
    const handOver = (socket: Socket, read: Buffer) => {
      for (const listener of own) listener.call(this.#server, socket);
      if (read.length > 0) socket.emit("data", read);
    };
    this.#server.on("connection", (socket: Socket) => welcome.take(socket, firstMs, handOver));
  }
}

/** Answers what is no HTTP, or too much of it, with the OCI envelope; the connection ends. */
function answerBroken(error: Error, socket: Duplex): void {
  const written = (socket as Socket).bytesWritten;
  if (!socket.writable || errnoOf(error) === "ECONNRESET" || written > 0) {
    socket.destroy();
    return;
  }
  const status = BROKEN.get(errnoOf(error) ?? "") ?? 400;
  const reason = STATUS_CODES[status] ?? "";
  const body = errorEnvelope("UNSUPPORTED", `the request could not be read: ${reason.toLowerCase()}`);
  socket.end(
    `HTTP/1.1 ${status} ${reason}\r\nConnection: close\r\nContent-Type: application/json\r\n` +
      `Content-Length: ${Buffer.byteLength(body)}\r\nVia: 1.1 wharfinger\r\n\r\n${body}`,
  );
}

const BROKEN: ReadonlyMap<string, number> = new Map([
  ["HPE_HEADER_OVERFLOW", 431],
  ["ERR_HTTP_REQUEST_TIMEOUT", 408],
]);

function listenFailure(address: Address, cause: Error): Failure {
  const where = `${address.host.includes(":") ? `[${address.host}]` : address.host}:${address.port}`;
  switch (errnoOf(cause)) {
    case "EADDRINUSE":
      return new Failure("overloaded", `cannot listen on ${where}: the port is in use by another process`, { cause });
    case "EACCES":
      return new Failure("overloaded", `cannot listen on ${where}: not permitted (ports below 1024 need a privilege)`, {
        cause,
      });
    case "EADDRNOTAVAIL":
      return new Failure("overloaded", `cannot listen on ${where}: this machine has no such address`, { cause });
    default:
      return new Failure("overloaded", `cannot listen on ${where}: ${messageOf(cause)}`, { cause });
  }
}
