/**
 * The upstream's texts and URLs, made fit for messages and logs: no queries (they hold signatures and tokens), no
 * control characters, short.
 */

const MAX_TEXT = 300;

/** Origin and path. */
export function redactUrl(url: URL): string {
  return excerptOf(`${url.origin}${url.pathname}`);
}

export function excerptOf(text: string): string {
  const clean = text
    .slice(0, 4 * MAX_TEXT)
    .replace(/(\bhttps?:\/\/[^\s?"'<>]*)\?[^\s"'<>]*/gi, "$1?…")
    .replace(/\b(Bearer|Basic)\s+[A-Za-z0-9\-._~+/=]{8,}/gi, "$1 …")
    .replace(/[\p{Cc}\p{Cf}\s]+/gu, " ")
    .trim();
  return clean.length <= MAX_TEXT ? clean : `${clean.slice(0, MAX_TEXT - 1)}…`;
}

/**
 * What an error body says: OCI codes and messages, or plain text; undefined for HTML, binary and nothing. `hide` is
 * given the text unescaped and whole: half a secret would not be found.
 */
export function findErrorText(
  body: string,
  contentType: string | undefined,
  hide: (text: string) => string,
): string | undefined {
  const text = errorsOf(body) ?? (contentType?.toLowerCase().startsWith("text/plain") === true ? body : undefined);
  const excerpt = text === undefined ? "" : excerptOf(hide(text));
  return excerpt === "" ? undefined : excerpt;
}

function errorsOf(body: string): string | undefined {
  let parsed: unknown;
  try {
    parsed = JSON.parse(body);
  } catch {
    return undefined;
  }
  if (typeof parsed !== "object" || parsed === null) return undefined;
  if ("errors" in parsed && Array.isArray(parsed.errors)) {
    return parsed.errors.slice(0, 3).map(errorOf).filter(Boolean).join("; ");
  }
  // Token servers of several makes say it so.
  return "details" in parsed && typeof parsed.details === "string" ? parsed.details : undefined;
}

function errorOf(error: unknown): string {
  if (typeof error !== "object" || error === null) return "";
  const code = "code" in error && typeof error.code === "string" ? error.code : "";
  const message = "message" in error && typeof error.message === "string" ? error.message : "";
  return code !== "" && message !== "" ? `${code}: ${message}` : code || message;
}
