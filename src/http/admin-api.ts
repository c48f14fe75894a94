/**
 * The admin API on the wire: an HTTP request becomes a question, and what is answered becomes a response, as it comes.
 *
 * A client that leaves aborts what it asked for. Whoever gives a body up leaves the connection alone: the answer goes
 * first, the rest of the body is read for a moment, so that the client gets to see why, and then the connection ends.
 */
import type { IncomingMessage, RequestListener, ServerResponse } from "node:http";
import { pipeline, Readable } from "node:stream";
import { Failure } from "../base/failure.ts";
import { judgeVisitor } from "./admin-visitor.ts";

/** What answers, without knowing of HTTP. */
export type AnswerAdmin = (question: {
  readonly method: string;
  readonly path: string;
  readonly query: URLSearchParams;
  readonly contentType: string | undefined;
  readonly body: Readable;
  readonly signal: AbortSignal;
}) => Promise<{
  readonly status: number;
  readonly headers: Readonly<Record<string, string | number>>;
  readonly body: string | Readable;
}>;

export interface AdminApiParts {
  readonly answer: AnswerAdmin;
  /** Host names that are ours besides addresses and localhost. */
  readonly names: ReadonlySet<string>;
}

const LINGER_MS = 2000;

export function createAdminApiListener({ answer, names }: AdminApiParts): RequestListener {
  return (request, response) => {
    const refusal = judgeVisitor(request, names);
    if (refusal !== undefined) {
      const kind = refusal.status === 403 ? "denied" : "invalid";
      const text = `${JSON.stringify({ error: { kind, message: refusal.message } })}\n`;
      const headers = { "Content-Type": "application/json", "Content-Length": Buffer.byteLength(text) };
      send(request, response, { status: refusal.status, headers, body: text });
      return;
    }
    const abort = new AbortController();
    response.once("close", () => abort.abort(new Failure("overloaded", "whoever asked has left")));
    const url = new URL(request.url ?? "/", "http://admin");
    answer({
      method: request.method ?? "GET",
      path: url.pathname,
      query: url.searchParams,
      contentType: request.headers["content-type"],
      body: bodyOf(request),
      signal: abort.signal,
    }).then(
      (answered) => send(request, response, answered),
      () => response.destroy(),
    );
  };
}

/** A request's body as a stream of its own: to destroy it ends the reading and not the connection. */
function bodyOf(request: IncomingMessage): Readable {
  const onData = (chunk: Buffer) => {
    if (!body.push(chunk)) request.pause();
  };
  const onEnd = () => body.push(null);
  const onClose = () => {
    if (!request.complete) body.destroy(new Failure("overloaded", "whoever sent it has left"));
  };
  let reads = false;
  const body = new Readable({
    read() {
      if (!reads) request.on("data", onData).on("end", onEnd);
      reads = true;
      request.resume();
    },
    destroy(error, callback) {
      request.off("data", onData).off("end", onEnd).off("close", onClose);
      // What still comes waits until the answer is there.
      if (!request.destroyed) request.pause();
      callback(error);
    },
  });
  request.once("close", onClose);
  request.on("error", () => {});
  // Its end may not be waited for by anyone.
  body.on("error", () => {});
  return body;
}

function send(request: IncomingMessage, response: ServerResponse, answered: Awaited<ReturnType<AnswerAdmin>>): void {
  const { status, headers, body } = answered;
  if (response.destroyed) {
    if (typeof body !== "string") body.destroy();
    return;
  }
  const isWhole = typeof body === "string";
  const isEarly = isWhole && !request.complete;
  response.writeHead(status, {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    ...(isEarly ? { Connection: "close" } : {}),
    ...headers,
  });
  if (isWhole) {
    const told = request.method === "HEAD" ? "" : body;
    if (!isEarly) {
      response.end(told);
      return;
    }
    // The end of the answer ends the connection, and a client that still sends would lose what it has not read.
    response.write(told);
    linger(request, () => response.end());
    return;
  }
  if (request.method === "HEAD") {
    body.destroy();
    response.end();
    return;
  }
  response.flushHeaders();
  pipeline(body, response, () => {
    if (!request.complete) linger(request);
  });
}

/** The rest of the body is read and thrown away, for so long; then it ends the connection. */
function linger(request: IncomingMessage, onEnd: () => void = () => {}): void {
  const { socket } = request;
  request.resume();
  const timer = setTimeout(() => socket.destroy(), LINGER_MS);
  timer.unref();
  const done = () => clearTimeout(timer);
  request.once("end", () => {
    done();
    onEnd();
  });
  socket.once("close", done);
}
