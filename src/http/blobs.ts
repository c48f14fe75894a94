/**
 * GET and HEAD of a blob, whole or in ranges; the file is open before the headers leave.
 */
import type { OutgoingHttpHeaders } from "node:http";
import type { BlobAnswer, Blobs } from "../mirror/blobs.ts";
import type { Route } from "../mirror/route.ts";
import type { Slice } from "../mirror/slice.ts";
import type { Digest } from "../oci/digest.ts";
import { absentError } from "./absent.ts";
import { judgeConditions, rangeCounts } from "./conditional.ts";
import type { Exchange } from "./exchange.ts";
import { planMultipart } from "./multipart.ts";
import { passOn } from "./pass.ts";
import { judgeRange, type RangeVerdict } from "./range.ts";
import { commonHeaders, contentHeaders, replyError, replyFailure } from "./reply.ts";
import type { Piece, Sending } from "./send.ts";

/** What is named by its digest never changes. */
export const IMMUTABLE = "max-age=31536000, immutable";
const OCTETS = "application/octet-stream";

export async function serveBlob(
  exchange: Exchange,
  blobs: Blobs,
  route: Route,
  digest: Digest,
  sending: Sending,
): Promise<void> {
  const { headers } = exchange.request;
  const rangeHeader = exchange.wantsBody && rangeCounts(headers, digest) ? headers.range : undefined;
  const findSlice = (sizeBytes: number): Slice | undefined => {
    const ranges = judgeRange(rangeHeader, sizeBytes);
    return Array.isArray(ranges) && ranges.length === 1 ? ranges[0] : undefined;
  };
  const answer = exchange.wantsBody
    ? await blobs.answer(route, digest, findSlice, exchange)
    : await blobs.head(route, digest, exchange);
  if ("absence" in answer) {
    replyError(exchange, 404, absentError("blob", digest, answer.absence), answer.verdict);
    return;
  }
  try {
    reply(exchange, answer, rangeHeader, sending);
  } catch (error) {
    answer.follower?.close();
    answer.passed?.destroy();
    throw error;
  }
}

function reply(exchange: Exchange, answer: BlobAnswer, rangeHeader: string | undefined, sending: Sending): void {
  const headers = contentHeaders(commonHeaders(exchange, answer.verdict), answer.digest);
  headers["Accept-Ranges"] = "bytes";
  headers["Cache-Control"] = IMMUTABLE;
  const judged = judgeConditions(exchange.request.headers, answer.digest);
  if (judged !== undefined) {
    drop(answer);
    exchange.head(judged, judged === 304 ? headers : { ...headers, "Content-Length": 0 });
    exchange.end();
    return;
  }
  headers["Content-Type"] = OCTETS;
  if (answer.passed !== undefined) {
    replyPassed(exchange, answer, headers);
    return;
  }
  const verdict = judgeRange(rangeHeader, answer.sizeBytes);
  if (verdict === "unsatisfiable") {
    drop(answer);
    replyError(exchange, 416, { code: "UNSUPPORTED", message: "the range lies outside of the blob" }, answer.verdict, {
      "Content-Range": `bytes */${answer.sizeBytes}`,
    });
    return;
  }
  const pieces = replyHead(exchange, answer, headers, verdict);
  const { follower, rescue } = answer;
  if (follower === undefined) {
    exchange.end();
    return;
  }
  const fail = (error: Error) => replyFailure(exchange, error);
  if (rescue === undefined) {
    sending.send(exchange, follower, pieces, fail);
    return;
  }
  sending.send(exchange, follower, pieces, fail, (failed, { start, end }, damage) => {
    // What was not sent yet can still say how it is.
    if (!exchange.begun) Object.assign(headers, commonHeaders(exchange, { cache: "bypass", why: "storage" }));
    return rescue({ follower: failed, position: start, end }, damage);
  });
}

function replyHead(
  exchange: Exchange,
  answer: BlobAnswer,
  headers: OutgoingHttpHeaders,
  verdict: Exclude<RangeVerdict, "unsatisfiable">,
): readonly Piece[] {
  const { sizeBytes } = answer;
  if (verdict === "ignore") {
    headers["Content-Length"] = sizeBytes;
    exchange.head(200, headers);
    return sizeBytes === 0 ? [] : [{ start: 0, end: sizeBytes - 1 }];
  }
  const [only, second] = verdict;
  if (only !== undefined && second === undefined) {
    exchange.head(206, partHeaders(headers, only, sizeBytes));
    return [only];
  }
  const multipart = planMultipart(verdict, sizeBytes, OCTETS);
  headers["Content-Type"] = multipart.contentType;
  headers["Content-Length"] = multipart.contentLength;
  exchange.head(206, headers);
  return multipart.pieces;
}

function replyPassed(exchange: Exchange, answer: BlobAnswer, headers: OutgoingHttpHeaders): void {
  const { passed, passedSlice, sizeBytes } = answer;
  if (passed === undefined) return;
  const fail = (error: Error) => replyFailure(exchange, error);
  if (passedSlice === undefined) {
    headers["Content-Length"] = sizeBytes;
    exchange.head(200, headers);
    passOn(exchange, passed, sizeBytes, fail);
    return;
  }
  exchange.head(206, partHeaders(headers, passedSlice, sizeBytes));
  passOn(exchange, passed, passedSlice.end - passedSlice.start + 1, fail);
}

function partHeaders(headers: OutgoingHttpHeaders, part: Slice, sizeBytes: number): OutgoingHttpHeaders {
  headers["Content-Range"] = `bytes ${part.start}-${part.end}/${sizeBytes}`;
  headers["Content-Length"] = part.end - part.start + 1;
  return headers;
}

function drop(answer: BlobAnswer): void {
  answer.follower?.close();
  answer.passed?.destroy();
}
