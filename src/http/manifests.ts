/**
 * GET and HEAD of a manifest: stored bytes and media type, whatever the client accepts.
 */
import type { OutgoingHttpHeaders } from "node:http";
import type { ManifestAnswer, Manifests } from "../mirror/manifests.ts";
import type { Route } from "../mirror/route.ts";
import { cacheLabel } from "../mirror/verdict.ts";
import { type Reference, referenceText } from "../oci/reference.ts";
import { absentError } from "./absent.ts";
import { IMMUTABLE } from "./blobs.ts";
import { judgeConditions } from "./conditional.ts";
import type { Exchange } from "./exchange.ts";
import { agingHeaders, answerHeaders, contentHeaders, replyError } from "./reply.ts";

export async function serveManifest(
  exchange: Exchange,
  manifests: Manifests,
  route: Route,
  reference: Reference,
): Promise<void> {
  const wantsBody = exchange.wantsBody;
  const answer = await manifests.answer(route, reference, wantsBody, exchange);
  if ("absence" in answer) {
    replyError(exchange, 404, absentError("manifest", referenceText(reference), answer.absence), answer.verdict);
    return;
  }
  exchange.cache = cacheLabel(answer.verdict);
  const headers = manifestHeaders(exchange.requestId, reference, answer);
  const judged = judgeConditions(exchange.request.headers, answer.digest);
  if (judged !== undefined) {
    exchange.head(judged, judged === 304 ? headers : { ...headers, "Content-Length": 0 });
    exchange.end();
    return;
  }
  exchange.head(200, bodyHeaders(headers, answer));
  exchange.end(answer.bytes);
}

/** All that a manifest's answer carries, be there a body or none. */
export function manifestHeaders(requestId: string, reference: Reference, answer: ManifestAnswer): OutgoingHttpHeaders {
  const headers = contentHeaders(answerHeaders(requestId, answer.verdict), answer.digest);
  if (reference.type === "digest") headers["Cache-Control"] = IMMUTABLE;
  else agingHeaders(headers, answer);
  return headers;
}

export function bodyHeaders(headers: OutgoingHttpHeaders, answer: ManifestAnswer): OutgoingHttpHeaders {
  headers["Content-Type"] = answer.mediaType;
  headers["Content-Length"] = answer.sizeBytes;
  return headers;
}
