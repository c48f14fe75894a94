/**
 * A request head in the plainest form that clients send, or nothing. Pure.
 *
 * Narrow on purpose: one GET or HEAD of an origin-form target in HTTP/1.1, with one Host and no field that could change
 * what the answer is, how it is framed, or what becomes of the connection. Whatever else is well-formed too, and
 * whatever is not, is for an HTTP parser to say.
 */

export interface PlainHead {
  readonly method: "GET" | "HEAD";
  /** Origin-form: path and query. */
  readonly target: string;
  readonly host: string;
  readonly userAgent: string | undefined;
}

const REQUEST_LINE = /^(GET|HEAD) (\/[!-~]*) HTTP\/1\.1$/;
/** RFC 9110 §5: a token, a colon, and visible ASCII with spaces and tabs inside. */
const FIELD = /^([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([!-~](?:[ -~\t]*[!-~])?)[ \t]*$/;
/** Fields that may come; no more than one of those that count. */
const IGNORED: ReadonlySet<string> = new Set([
  "accept",
  "accept-encoding",
  "accept-language",
  "cache-control",
  "pragma",
]);

/** @param head everything that was read; it must be one head, whole, and nothing else. */
export function parsePlainHead(head: string): PlainHead | undefined {
  if (!head.endsWith("\r\n\r\n")) return undefined;
  const [first = "", ...fields] = head.slice(0, -4).split("\r\n");
  const line = REQUEST_LINE.exec(first);
  if (line === null) return undefined;
  let host: string | undefined;
  let userAgent: string | undefined;
  for (const field of fields) {
    const [, name = "", value = ""] = FIELD.exec(field) ?? [];
    switch (name.toLowerCase()) {
      case "host":
        if (host !== undefined) return undefined;
        host = value;
        break;
      case "user-agent":
        if (userAgent !== undefined) return undefined;
        userAgent = value;
        break;
      case "connection":
        if (value.toLowerCase() !== "keep-alive") return undefined;
        break;
      default:
        if (!IGNORED.has(name.toLowerCase())) return undefined;
    }
  }
  if (host === undefined) return undefined;
  return { method: line[1] === "GET" ? "GET" : "HEAD", target: line[2] ?? "", host, userAgent };
}
