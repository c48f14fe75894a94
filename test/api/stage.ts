/** An admin API of a test's own operations, asked without HTTP. */
import { Readable } from "node:stream";
import { Api } from "../../src/api/dispatch.ts";
import type { ApiAnswer } from "../../src/api/exchange.ts";
import type { Operation } from "../../src/api/operation.ts";
import { systemClock } from "../../src/base/clock.ts";

export interface Question {
  readonly query?: string;
  readonly contentType?: string;
  readonly body?: string | Readable;
  readonly signal?: AbortSignal;
}

export function stage(...operations: readonly Operation[]) {
  const stopping = new AbortController();
  const bugs: unknown[] = [];
  const onBug = (_what: string, error: unknown) => bugs.push(error);
  const api = new Api({ operations, clock: systemClock, signal: stopping.signal, onBug });
  const ask = async (method: string, path: string, { query, contentType, body, signal }: Question = {}) => {
    const answer = await api.answer({
      method,
      path,
      query: new URLSearchParams(query),
      contentType: contentType ?? (method === "POST" ? "application/json" : undefined),
      body: body instanceof Readable ? body : Readable.from(body === undefined ? [] : [Buffer.from(body)]),
      signal: signal ?? new AbortController().signal,
    });
    return answer;
  };
  return { api, ask, bugs, stop: (reason: Error) => stopping.abort(reason) };
}

export async function textOf({ body }: Pick<ApiAnswer, "body">): Promise<string> {
  if (typeof body === "string") return body;
  const chunks: Buffer[] = [];
  for await (const chunk of body) chunks.push(Buffer.from(chunk));
  return Buffer.concat(chunks).toString();
}

export async function jsonOf(answer: Pick<ApiAnswer, "body">): Promise<Record<string, unknown>> {
  return JSON.parse(await textOf(answer));
}

export async function eventsOf(answer: Pick<ApiAnswer, "body">): Promise<Record<string, unknown>[]> {
  const lines = (await textOf(answer)).split("\n").filter((line) => line !== "");
  return lines.map((line) => JSON.parse(line));
}
