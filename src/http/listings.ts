/**
 * GET of tag lists, referrers and the catalogue. Links to a next page lead back to this mirror, by the form the client used.
 */
import type { OutgoingHttpHeaders } from "node:http";
import type { AbsentAnswer } from "../mirror/absent.ts";
import type { ListAnswer } from "../mirror/listings.ts";
import { absentError } from "./absent.ts";
import type { Exchange } from "./exchange.ts";
import { agingHeaders, commonHeaders, replyError } from "./reply.ts";

export function replyList(
  exchange: Exchange,
  answer: ListAnswer | AbsentAnswer,
  kind: "tags" | "referrers",
  what: string,
): void {
  if ("absence" in answer) {
    replyError(exchange, 404, absentError(kind, what, answer.absence), answer.verdict);
    return;
  }
  const body = Buffer.from(answer.body);
  const headers: OutgoingHttpHeaders = agingHeaders(commonHeaders(exchange, answer.verdict), answer);
  headers["Content-Type"] = answer.mediaType;
  headers["Content-Length"] = body.length;
  if (answer.filtersApplied !== undefined) headers["OCI-Filters-Applied"] = answer.filtersApplied;
  if (answer.nextQuery !== undefined) headers["Link"] = nextLink(exchange.request.url ?? "", answer.nextQuery);
  exchange.head(200, headers);
  exchange.end(body);
}

/** The client's own path, with the upstream's paging and the client's `ns` and `artifactType`. */
export function nextLink(target: string, nextQuery: string): string {
  const mark = target.indexOf("?");
  const path = mark < 0 ? target : target.slice(0, mark);
  const asked = new URLSearchParams(mark < 0 ? "" : target.slice(mark + 1));
  const query = new URLSearchParams(nextQuery);
  for (const kept of ["ns", "artifactType"]) {
    const value = asked.get(kept);
    if (value !== null) query.set(kept, value);
  }
  return `<${path.replace(/[<>"]/g, encodeURIComponent)}?${query}>; rel="next"`;
}
