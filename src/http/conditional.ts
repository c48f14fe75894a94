/**
 * Conditional requests (RFC 9110 §13) on content whose strong ETag is its quoted digest. Pure.
 */

/** True where one of the listed tags names the digest. Unquoted digests, which some clients send, are understood. */
export function matches(header: string, digest: string, comparison: "weak" | "strong"): boolean {
  if (header.trim() === "*") return true;
  return header.split(",").some((entry) => {
    const tag = entry.trim();
    const weak = tag.startsWith("W/");
    if (weak && comparison === "strong") return false;
    const value = weak ? tag.slice(2) : tag;
    return value === `"${digest}"` || value === digest;
  });
}

export interface Conditions {
  readonly "if-match"?: string | undefined;
  readonly "if-none-match"?: string | undefined;
  readonly "if-range"?: string | undefined;
}

/** 412 and 304 come before anything else; undefined where the request goes on. */
export function judgeConditions(headers: Conditions, digest: string): 412 | 304 | undefined {
  const { "if-match": ifMatch, "if-none-match": ifNoneMatch } = headers;
  if (ifMatch !== undefined && !matches(ifMatch, digest, "strong")) return 412;
  return ifNoneMatch !== undefined && matches(ifNoneMatch, digest, "weak") ? 304 : undefined;
}

/** Whether a Range header counts: `If-Range` must be absent or name this very content. A date never does. */
export function rangeCounts(headers: Conditions, digest: string): boolean {
  const ifRange = headers["if-range"];
  return ifRange === undefined || (ifRange.trim() !== "*" && matches(ifRange, digest, "strong"));
}
