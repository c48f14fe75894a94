/**
 * What is told of what went wrong: `{"error":{"kind","message"}}`, and its status. The only place of the admin API where
 * failure kinds become statuses; what is no `Failure` is a bug, and nothing of it is told.
 */
import { type FailureKind, isFailure } from "../base/failure.ts";
import type { ApiAnswer } from "./exchange.ts";

/** A failure's kind, or `bug`. */
export type ProblemKind = FailureKind | "bug";

export interface Problem {
  readonly kind: ProblemKind;
  readonly message: string;
  /** Of input: everything that is wrong with it. */
  readonly faults?: readonly { readonly path: string; readonly message: string }[];
}

const STATUS: Readonly<Record<ProblemKind, number>> = {
  invalid: 400,
  unauthenticated: 401,
  denied: 403,
  unknown: 404,
  // 405 is for methods: here the content is understood, and cannot be done.
  unsupported: 422,
  limited: 429,
  refused: 502,
  corrupt: 502,
  unreachable: 502,
  overloaded: 503,
  storage: 500,
  bug: 500,
};

/** Statuses that operations may answer with, each with what it is for. */
export const TROUBLES: Readonly<Record<number, string>> = {
  400: "The input is malformed; every fault is told",
  403: "Refused: by policy, or because the request came from a page of another site",
  404: "There is no such thing",
  413: "The body is too large",
  415: "The body is of another type than expected",
  422: "It cannot be done with this",
  429: "An upstream's limit is used up",
  500: "The disk or the database failed, or a bug",
  502: "An upstream did not answer, refused us, or sent something wrong",
  503: "Too much is under way, or the mirror is stopping",
};

const RETRY_AFTER_S = 5;

export function problemOf(error: unknown): Problem {
  if (!isFailure(error)) return { kind: "bug", message: "internal error" };
  return { kind: error.kind, message: error.message };
}

export function problemAnswer(
  problem: Problem,
  status = STATUS[problem.kind],
  more: ApiAnswer["headers"] = {},
): ApiAnswer {
  const retry = status === 503 ? { "Retry-After": RETRY_AFTER_S } : {};
  return jsonAnswer(status, { error: problem }, { ...retry, ...more });
}

export function jsonAnswer(status: number, body: object, more: ApiAnswer["headers"] = {}): ApiAnswer {
  const text = `${JSON.stringify(body)}\n`;
  const headers = { "Content-Type": "application/json", "Content-Length": Buffer.byteLength(text), ...more };
  return { status, headers, body: text };
}
