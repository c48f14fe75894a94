/**
 * A listening server whose every wait is bounded, and its end: drained first, broken off after the grace period. Plain
 * HTTP/1.1, or over TLS both HTTP/1.1 and HTTP/2, as client and server agree in the handshake (ALPN).
 *
 * Over TLS the server is `node:https`' own, which is that of `node:http` on other sockets: every limit of the plain one
 * holds. `http2.createSecureServer({ allowHTTP1 })` would tie HTTP/2 to its compatibility API, which costs more.
 */
import { createServer, type RequestListener, type Server, STATUS_CODES } from "node:http";
import { createServer as createTlsServer, type Server as TlsServer } from "node:https";
import type { AddressInfo, Socket } from "node:net";
import type { Duplex } from "node:stream";
import { errnoOf, Failure, messageOf } from "../base/failure.ts";
import { errorEnvelope } from "../oci/codes.ts";
import { H2Door } from "./h2.ts";
import { Certificates } from "./tls.ts";

export interface ListenerLimits {
  /** More connections than this are closed as they come. */
  readonly maxConnections: number;
  /** Until a request's headers are complete. */
  readonly headersTimeoutMs: number;
  /** Until a request's body is complete; 0 = as long as it moves. Default: 10 s more than for its headers. */
  readonly requestTimeoutMs?: number;
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
  /** Ends the connections that were not handed over, as soon as they have taken what was written. */
  closeIdle(): void;
  /** Breaks them off. */
  destroy(): void;
}

const BACKLOG = 4096;

export interface Address {
  readonly host: string;
  readonly port: number;
}

export class Listener {
  readonly #server: Server | TlsServer;
  readonly #certificates: Certificates | undefined;
  readonly #welcome: Welcome | undefined;
  readonly #h2: H2Door;
  /** Connections whose handshake runs, by the client's address and port. */
  readonly #handshakes = new Map<string, Socket>();
  #draining = false;

  /**
   * @param front certificates, which are started and stopped with the listener; or who sees plain connections first, and
   * hands over what becomes the HTTP server's.
   */
  constructor(handle: RequestListener, limits: ListenerLimits = DEFAULT_LIMITS, front?: Certificates | Welcome) {
    const certificates = front instanceof Certificates ? front : undefined;
    const welcome = front instanceof Certificates ? undefined : front;
    const options = {
      keepAliveTimeout: limits.keepAliveMs,
      headersTimeout: limits.headersTimeoutMs,
      requestTimeout: limits.requestTimeoutMs ?? limits.headersTimeoutMs + 10_000,
      connectionsCheckingInterval: Math.min(5000, limits.headersTimeoutMs),
      maxHeaderSize: limits.maxHeaderBytes,
      noDelay: true,
      highWaterMark: 256 * 1024,
    };
    const onRequest: RequestListener = (request, response) => {
      if (this.#draining) response.setHeader("Connection", "close");
      handle(request, response);
    };
    this.#certificates = certificates;
    this.#h2 = new H2Door(handle, limits);
    this.#server =
      certificates === undefined
        ? createServer(options, onRequest)
        : this.#createTlsServer(certificates, { ...options, handshakeTimeout: limits.headersTimeoutMs }, onRequest);
    this.#welcome = welcome;
    if (welcome !== undefined) this.#welcomeFirst(welcome, limits.headersTimeoutMs);
    this.#server.maxConnections = limits.maxConnections;
    this.#server.timeout = limits.stallMs;
    this.#server.on("clientError", answerBroken);
    // `Expect` is for bodies, and nothing here takes one: the handler answers as it would without.
    this.#server.on("checkExpectation", (request, response) => this.#server.emit("request", request, response));
  }

  #createTlsServer(certificates: Certificates, options: object, onRequest: RequestListener): TlsServer {
    const server = createTlsServer(
      { ...options, ...certificates.serverOptions(), ALPNProtocols: ["h2", "http/1.1"] },
      onRequest,
    );
    server.on("connection", (socket: Socket) => {
      const client = clientOf(socket);
      this.#handshakes.set(client, socket);
      socket.once("close", () => {
        if (this.#handshakes.get(client) === socket) this.#handshakes.delete(client);
      });
    });
    // HTTP/1.1's own listener gets what is left when HTTP/2 has taken its connections.
    const http1 = server.listeners("secureConnection");
    server.removeAllListeners("secureConnection");
    server.on("secureConnection", (socket) => {
      this.#handshakes.delete(clientOf(socket));
      if (!certificates.admits(socket)) socket.destroy();
      else if (socket.alpnProtocol === "h2") this.#h2.take(socket);
      else for (const listener of http1) listener.call(server, socket);
    });
    // Nothing can be said to whom no handshake succeeded with; `clientError` would say it in plain text.
    server.removeAllListeners("tlsClientError");
    server.on("tlsClientError", (_error, socket) => socket.destroy());
    return server;
  }

  /** @throws Failure `overloaded`: the address cannot be had from this machine; the message says why. */
  async start(address: Address): Promise<Address> {
    await new Promise<void>((resolve, reject) => {
      // Stays: after this has begun, an error of the listening socket ends nobody's connection.
      this.#server.on("error", (cause) => reject(listenFailure(address, cause)));
      this.#server.listen({ host: address.host, port: address.port, backlog: BACKLOG }, resolve);
    });
    this.#watchCertificates();
    const bound = this.#server.address() as AddressInfo;
    return { host: bound.address, port: bound.port };
  }

  /** Listens on what another process has bound, together with whoever else does. @throws what the system says. */
  async startOn(handle: object): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      this.#server.on("error", reject);
      this.#server.listen(handle, BACKLOG, resolve);
    });
    this.#watchCertificates();
  }

  #watchCertificates(): void {
    if ("setSecureContext" in this.#server) this.#certificates?.attach(this.#server);
  }

  /** Takes no new connections; running answers may end within the grace period, and are broken off after it. */
  async stop(graceMs: number): Promise<void> {
    this.#draining = true;
    this.#certificates?.stop();
    if (!this.#server.listening) return;
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    this.#h2.drain();
    for (const socket of this.#handshakes.values()) socket.destroy();
    // An answer that began before the drain leaves its connection idle when it ends, not closed.
    const sweep = setInterval(() => {
      this.#server.closeIdleConnections();
      this.#welcome?.closeIdle();
    }, 100);
    this.#welcome?.closeIdle();
    const breakOff = () => {
      this.#server.closeAllConnections();
      this.#welcome?.destroy();
      this.#h2.destroy();
    };
    const timer = setTimeout(breakOff, Math.min(graceMs, MAX_TIMER_MS));
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

function clientOf({ remoteAddress, remotePort }: Socket): string {
  return `${remoteAddress} ${remotePort}`;
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
