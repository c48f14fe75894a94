/**
 * What a command asks, put into questions of the admin API and its answers read: the same whether the answers come over
 * HTTP or from this process.
 */
import type { Readable } from "node:stream";
import type { ApiEvent, ApiStream } from "../api/operation.ts";
import { queryOf } from "../api/query.ts";
import { Failure, type FailureKind, messageOf } from "../base/failure.ts";
import type { AdminAnswer, AdminQuestion } from "../http/admin-client.ts";
import type { Desk } from "./desk.ts";

/** Whatever carries questions to an admin API. */
export interface Messenger {
  readonly remote: boolean;
  send(question: AdminQuestion): Promise<AdminAnswer>;
  close(): Promise<void>;
}

const MAX_ANSWER_BYTES = 64 * 1024 * 1024;
/** The result of an import names every image that it brought. */
const MAX_LINE_BYTES = 32 * 1024 * 1024;

const KINDS: Readonly<Record<FailureKind, true>> = {
  ...{ invalid: true, unauthenticated: true, denied: true, unknown: true, unsupported: true, limited: true },
  ...{ refused: true, corrupt: true, unreachable: true, overloaded: true, storage: true },
};

export function deskOver(messenger: Messenger): Desk {
  const open = async (question: Omit<AdminQuestion, "query"> & { readonly query?: URLSearchParams }) => {
    const answer = await messenger.send({ query: new URLSearchParams(), ...question });
    if (answer.status === 200) return answer;
    throw failureOf(memberOf(await readJson(answer.body), "error"), answer.status);
  };
  return {
    remote: messenger.remote,
    async call(method, path, input = {}) {
      const { signal } = new AbortController();
      const inQuery = method === "GET" || method === "DELETE";
      const asked = inQuery
        ? { query: queryOf(input), contentType: undefined, body: undefined }
        : { contentType: "application/json", body: JSON.stringify(input) };
      const { body } = await open({ method, path, ...asked, signal });
      const answer = await readJson(body);
      if (typeof answer === "object" && answer !== null) return answer;
      throw new Failure("unreachable", "the mirror's answer is no JSON object");
    },
    async *events(path, input, { body, signal } = {}) {
      const abort = new AbortController();
      const onAbort = () => abort.abort(signal?.reason);
      signal?.addEventListener("abort", onAbort, { once: true });
      if (signal?.aborted === true) onAbort();
      let lines: Readable | undefined;
      try {
        const asked =
          body === undefined
            ? { contentType: "application/json", body: JSON.stringify(input) }
            : { contentType: "application/octet-stream", query: queryOf(input), body };
        ({ body: lines } = await open({ method: "POST", path, ...asked, signal: abort.signal }));
        yield* eventsIn(lines);
      } catch (error) {
        throw signal?.aborted === true ? signal.reason : error;
      } finally {
        signal?.removeEventListener("abort", onAbort);
        lines?.destroy();
        abort.abort();
        body?.destroy();
      }
    },
    async stream(path, input, signal = new AbortController().signal): Promise<ApiStream> {
      const text = JSON.stringify(input);
      const answer = await open({ method: "POST", path, contentType: "application/json", body: text, signal });
      const { contentType = "application/octet-stream", lengthBytes, body } = answer;
      return { contentType, lengthBytes, body };
    },
    close: () => messenger.close(),
  };
}

async function* eventsIn(body: Readable): AsyncGenerator<ApiEvent> {
  for await (const line of linesIn(body)) {
    if (line === "") continue;
    const event = eventOf(line);
    if (event === undefined) throw new Failure("unreachable", "the mirror's answer has a line that is no event");
    if (event.event === "failed") throw failureOf(event, 0);
    yield event;
    if (event.event === "done") return;
  }
  throw new Failure("unreachable", "the mirror broke off before the work was done");
}

async function* linesIn(body: Readable): AsyncGenerator<string> {
  const decoder = new TextDecoder();
  let rest = "";
  try {
    for await (const chunk of body) {
      rest += typeof chunk === "string" ? chunk : decoder.decode(chunk, { stream: true });
      const lines = rest.split("\n");
      rest = lines.pop() ?? "";
      yield* lines;
      if (rest.length > MAX_LINE_BYTES) throw new Failure("unreachable", "the mirror's answer has a line without end");
    }
  } catch (error) {
    if (error instanceof Failure) throw error;
    throw new Failure("unreachable", `the mirror broke off before the work was done: ${messageOf(error)}`);
  }
  if (rest !== "") yield rest;
}

function eventOf(line: string): ApiEvent | undefined {
  try {
    const value: unknown = JSON.parse(line);
    return isEvent(value) ? value : undefined;
  } catch {
    return undefined;
  }
}

function isEvent(value: unknown): value is ApiEvent {
  return typeof memberOf(value, "event") === "string";
}

async function readJson(body: Readable): Promise<unknown> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  try {
    for await (const chunk of body) {
      const piece = Buffer.isBuffer(chunk) ? chunk : Buffer.from(String(chunk));
      bytes += piece.length;
      if (bytes > MAX_ANSWER_BYTES) throw new Error("it is too long");
      chunks.push(piece);
    }
    return JSON.parse(Buffer.concat(chunks).toString("utf8"));
  } catch (error) {
    throw new Failure("unreachable", `the mirror's answer cannot be read: ${messageOf(error)}`);
  }
}

/** As the operation threw it; what is a bug there is told as one. */
function failureOf(problem: unknown, status: number): Failure | Error {
  const kind = memberOf(problem, "kind");
  const message = memberOf(problem, "message");
  if (typeof message === "string" && isKind(kind)) return new Failure(kind, message);
  if (kind === "bug") return new Failure("overloaded", "the mirror failed at this by a bug; its log says more");
  return new Failure("unreachable", `what answers is no wharfinger's admin API (status ${status})`);
}

function isKind(kind: unknown): kind is FailureKind {
  return typeof kind === "string" && Object.hasOwn(KINDS, kind);
}

export function memberOf(value: unknown, name: string): unknown {
  return typeof value === "object" && value !== null ? Reflect.get(value, name) : undefined;
}
