/**
 * Asks the admin API of a running mirror: one connection for each question, closed when the answer was read or given up.
 */
import { request as httpRequest, type IncomingMessage } from "node:http";
import { Readable } from "node:stream";
import { Failure, messageOf } from "../base/failure.ts";
import type { Address } from "./listener.ts";

export interface AdminQuestion {
  readonly method: string;
  readonly path: string;
  readonly query: URLSearchParams;
  readonly contentType: string | undefined;
  readonly body: string | Readable | undefined;
  readonly signal: AbortSignal;
  /** Of silence. Long work is never silent for long. */
  readonly timeoutMs?: number;
}

export interface AdminAnswer {
  readonly status: number;
  readonly contentType: string | undefined;
  readonly lengthBytes: number | undefined;
  /** Whoever gets it reads it to its end or destroys it. */
  readonly body: Readable;
}

const SILENCE_MS = 300_000;
const ANY: ReadonlyMap<string, string> = new Map([
  ["0.0.0.0", "127.0.0.1"],
  ["::", "::1"],
]);

/** @throws Failure `unreachable`: nobody listens there, or the connection broke. */
export function askAdmin(address: Address, question: AdminQuestion): Promise<AdminAnswer> {
  const { method, path, query, contentType, body, signal, timeoutMs = SILENCE_MS } = question;
  const { promise, resolve, reject } = Promise.withResolvers<AdminAnswer>();
  const search = query.size === 0 ? "" : `?${query}`;
  const sent = httpRequest({
    host: ANY.get(address.host) ?? address.host,
    port: address.port,
    method,
    path: `${path}${search}`,
    agent: false,
    signal,
    timeout: timeoutMs,
    headers: {
      ...(contentType === undefined ? {} : { "Content-Type": contentType }),
      ...(typeof body === "string" ? { "Content-Length": Buffer.byteLength(body) } : {}),
    },
  });
  let answered: IncomingMessage | undefined;
  const fail = (cause: unknown) => {
    if (body instanceof Readable) body.destroy();
    reject(signal.aborted ? signal.reason : unreachable(address, cause));
  };
  sent.once("timeout", () => {
    const silence = new Error(`nothing came for ${Math.round(timeoutMs / 1000)} s`);
    answered?.destroy(silence);
    sent.destroy(silence);
  });
  sent.on("error", fail);
  sent.once("response", (response) => {
    answered = response;
    // What is not wanted any more is not sent any more.
    if (body instanceof Readable) {
      response.once("end", () => {
        body.destroy();
        sent.destroy();
      });
    }
    const length = response.headers["content-length"];
    resolve({
      status: response.statusCode ?? 0,
      contentType: response.headers["content-type"],
      lengthBytes: length === undefined ? undefined : Number(length),
      body: response,
    });
  });
  if (body instanceof Readable) {
    body.once("error", (cause) => sent.destroy(cause instanceof Error ? cause : new Error(String(cause))));
    body.pipe(sent);
  } else sent.end(body);
  return promise;
}

function unreachable({ host, port }: Address, cause: unknown): Failure {
  return new Failure("unreachable", `the mirror at ${host}:${port} does not answer: ${messageOf(cause)}`, { cause });
}
