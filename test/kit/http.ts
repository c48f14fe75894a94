/**
 * A client that hides nothing: no pool, no redirects, no decoding, and a body that breaks off is a result, not a throw.
 * `https` is HTTP/1.1 over TLS or HTTP/2, as the mode of the run has it; certificates are not checked.
 */
import { createHash } from "node:crypto";
import { type ClientRequest, type IncomingHttpHeaders, type IncomingMessage, request } from "node:http";
import { request as requestTls } from "node:https";
import { connect, type Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { connect as connectTls } from "node:tls";
import { openH2 } from "./h2client.ts";
import { mode } from "./mode.ts";

export interface RequestOptions {
  /** Default GET. */
  readonly method?: string;
  readonly headers?: Readonly<Record<string, string | readonly string[]>>;
  readonly signal?: AbortSignal;
  /** Sent as the request's body. */
  readonly body?: Uint8Array | string;
  /** The path exactly as it goes on the wire, where the URL would normalise it. */
  readonly rawPath?: string;
}

export interface Answer {
  /** 0 where no answer came. */
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: Buffer;
  /** False where the connection ended before the body did. */
  readonly complete: boolean;
  readonly error: Error | undefined;
}

export async function get(url: string, options: RequestOptions = {}): Promise<Answer> {
  let opened: IncomingMessage;
  try {
    opened = await open(url, options);
  } catch (error) {
    return { status: 0, headers: {}, body: Buffer.alloc(0), complete: false, error: asError(error) };
  }
  const chunks: Buffer[] = [];
  let error: Error | undefined;
  try {
    for await (const chunk of opened as AsyncIterable<Buffer>) chunks.push(chunk);
  } catch (cause) {
    error = asError(cause);
  }
  return {
    status: opened.statusCode ?? 0,
    headers: opened.headers,
    body: Buffer.concat(chunks),
    complete: opened.complete && error === undefined,
    error,
  };
}

/** The answer with its body unread. Whoever asked reads it to its end or destroys it. */
export function open(url: string, options: RequestOptions = {}): Promise<IncomingMessage> {
  const headers: Record<string, string | string[]> = {};
  for (const [name, value] of Object.entries(options.headers ?? {})) {
    headers[name] = typeof value === "string" ? value : [...value];
  }
  const method = options.method ?? "GET";
  const isTls = url.startsWith("https:");
  if (isTls && mode === "h2") {
    const { rawPath: path, body, signal } = options;
    return openH2(new URL(url), { method, headers, path, body, signal });
  }
  return new Promise((resolve, reject) => {
    const sent: ClientRequest = (isTls ? requestTls : request)(
      url,
      {
        method,
        headers,
        agent: false,
        rejectUnauthorized: false,
        ...(options.rawPath === undefined ? {} : { path: options.rawPath }),
        ...(options.signal === undefined ? {} : { signal: options.signal }),
      },
      resolve,
    );
    sent.on("error", reject);
    sent.end(options.body);
  });
}

export interface HashedAnswer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  /** sha256 of what arrived, as a digest. */
  readonly digest: string;
  readonly sizeBytes: number;
  readonly complete: boolean;
  readonly error: Error | undefined;
  /** Milliseconds from sending to the first body byte. */
  readonly firstByteMs: number | undefined;
}

export interface HashOptions extends RequestOptions {
  /** Reads no faster than this. */
  readonly bytesPerSecond?: number;
  /** Waits before sending. */
  readonly joinDelayMs?: number;
  /** Destroys the connection after this many body bytes. */
  readonly leaveAfterBytes?: number;
  /** Told how much has come, with every piece. */
  readonly onBytes?: (sizeBytes: number) => void;
}

/** Reads a body of any size and keeps only its digest. */
export async function getHashed(url: string, options: HashOptions = {}): Promise<HashedAnswer> {
  if (options.joinDelayMs !== undefined) await sleep(options.joinDelayMs);
  const startedAt = performance.now();
  const hash = createHash("sha256");
  let sizeBytes = 0;
  let firstByteMs: number | undefined;
  let error: Error | undefined;
  let opened: IncomingMessage | undefined;
  try {
    opened = await open(url, options);
    for await (const chunk of opened as AsyncIterable<Buffer>) {
      firstByteMs ??= performance.now() - startedAt;
      hash.update(chunk);
      sizeBytes += chunk.length;
      options.onBytes?.(sizeBytes);
      if (options.leaveAfterBytes !== undefined && sizeBytes >= options.leaveAfterBytes) break;
      if (options.bytesPerSecond !== undefined) {
        const ahead = (sizeBytes / options.bytesPerSecond) * 1000 - (performance.now() - startedAt);
        if (ahead > 1) await sleep(ahead);
      }
    }
  } catch (cause) {
    error = asError(cause);
  }
  return {
    status: opened?.statusCode ?? 0,
    headers: opened?.headers ?? {},
    digest: `sha256:${hash.digest("hex")}`,
    sizeBytes,
    complete: opened?.complete === true && error === undefined,
    error,
    firstByteMs,
  };
}

/** A socket that speaks HTTP/1.1, plain or over TLS as the URL has it. Text may be written at once. */
export function openSocket(url: string): Socket {
  const { hostname, port, protocol } = new URL(url);
  if (protocol !== "https:") return connect(Number(port), hostname);
  return connectTls({ host: hostname, port: Number(port), rejectUnauthorized: false, ALPNProtocols: ["http/1.1"] });
}

/** Writes the text to a socket of HTTP/1.1 as it is, and returns all that came back until the other side closed or fell silent. */
export function sendRaw(url: string, text: string | Uint8Array, silenceMs = 1_000): Promise<string> {
  return new Promise((resolve) => {
    const chunks: Buffer[] = [];
    const socket = openSocket(url);
    socket.write(text);
    socket.setTimeout(silenceMs, () => socket.destroy());
    socket.on("data", (chunk: Buffer) => chunks.push(chunk));
    // A reset is one of the answers malformed input may get.
    socket.on("error", () => {});
    socket.on("close", () => resolve(Buffer.concat(chunks).toString("latin1")));
  });
}

function asError(cause: unknown): Error {
  return cause instanceof Error ? cause : new Error(String(cause));
}
