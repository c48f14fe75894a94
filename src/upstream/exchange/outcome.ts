/**
 * What an upstream's last answer means: the thing itself, its absence, or a failure. Pure but for reading the clock's
 * time it is given.
 */
import { Failure } from "../../base/failure.ts";
import { findMediaType } from "../../oci/mediatypes.ts";
import { isAboutTheRepository } from "../auth/refusals.ts";
import { judgeRefusal } from "../limits/ratelimit.ts";
import { type Answer, headerOf } from "../network/transport.ts";
import type { RequestKind } from "../notices.ts";
import type { Absence } from "../upstream.ts";
import type { Reply } from "./exchange.ts";
import { redactUrl } from "./redact.ts";
import { failureOfAnswer, findRetryAfter, refusedBy } from "./trouble.ts";

export interface Judging {
  /** The statuses that answer the question. */
  readonly wanted: readonly number[];
  /** Epoch milliseconds. */
  readonly now: number;
  /** Takes our secrets out of the upstream's texts. */
  readonly hide: (text: string) => string;
  /** How long the account's budget has us wait, this answer counted; it knows more than one answer says. */
  readonly budgetMs?: number | undefined;
}

/**
 * Undefined where the status is one of `wanted`.
 * @throws Failure `refused`, `limited`, `corrupt` (416), `unreachable`.
 */
export function judgeReply(
  name: string,
  kind: RequestKind,
  reply: Reply,
  { wanted, now, hide, budgetMs }: Judging,
): Absence | undefined {
  const { status } = reply.answer;
  if (wanted.includes(status)) return undefined;
  if (status === 404) return { absent: "unknown" };
  const contentType = headerOf(reply.answer, "content-type");
  const retryAfterMs = waitOf(reply, now, budgetMs);
  const failure = failureOfAnswer(name, { status, contentType, body: reply.errorBody, retryAfterMs, hide });
  if (status !== 401 && status !== 403) throw failure;
  // The registry said yes when it sent us there; a refusal is of the signature, and may pass.
  if (reply.elsewhere && kind === "blob") {
    throw new Failure("unreachable", `${name}: the storage at ${reply.url.host} answered ${status} to its redirect`, {
      upstreamStatus: status,
      detail: { url: hide(redactUrl(reply.url)) },
    });
  }
  if (reply.authorization?.source === "held" && (status === 401 || !isAboutTheRepository(reply.errorBody))) {
    throw refusedBy(name, failure);
  }
  return { absent: "denied" };
}

function waitOf({ answer, errorBody }: Reply, now: number, budgetMs: number | undefined): number | undefined {
  if (answer.status !== 429) return findRetryAfter(headerOf(answer, "retry-after"), now);
  return budgetMs !== undefined && budgetMs > 0 ? budgetMs : judgeRefusal(answer.headers, errorBody, now).waitMs;
}

/** Which bytes of a blob an answer to a range brings. */
export interface Extent {
  readonly startByte: number;
  readonly bodyBytes: number | undefined;
  readonly sizeBytes: number | undefined;
}

/** @throws Failure `corrupt` where a 206 is not of the range that was asked for. */
export function extentOf(
  name: string,
  answer: Answer,
  range: { readonly start: number; readonly end?: number } | undefined,
): Extent {
  const length = contentLengthOf(answer);
  if (answer.status !== 206) return { startByte: 0, bodyBytes: length, sizeBytes: length };
  const match = /^bytes (\d{1,15})-(\d{1,15})\/(?:(\d{1,15})|\*)$/i.exec(
    headerOf(answer, "content-range")?.trim() ?? "",
  );
  const start = Number(match?.[1] ?? Number.NaN);
  const end = Number(match?.[2] ?? Number.NaN);
  const size = match?.[3] === undefined ? undefined : Number(match[3]);
  const bytes = end - start + 1;
  const good =
    range !== undefined &&
    start === range.start &&
    end >= start &&
    end <= (range.end ?? end) &&
    (size === undefined || end < size) &&
    (length === undefined || length === bytes);
  if (good) return { startByte: start, bodyBytes: bytes, sizeBytes: size };
  throw new Failure("corrupt", `${name} answered with another range than was asked for`, {
    upstreamStatus: answer.status,
  });
}

export function contentLengthOf(answer: Answer): number | undefined {
  const text = headerOf(answer, "content-length");
  return text !== undefined && /^\d{1,15}$/.test(text) ? Number(text) : undefined;
}

/** @throws Failure `unreachable` for a web page: a login, a captive portal, never a document of a registry. */
export function mediaTypeOf(name: string, answer: Answer): string | undefined {
  const mediaType = findMediaType(headerOf(answer, "content-type"));
  if (mediaType !== "text/html") return mediaType;
  throw new Failure("unreachable", `${name} answered with a web page; check its url`, {
    upstreamStatus: answer.status,
  });
}
