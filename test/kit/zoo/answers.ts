/**
 * Bodies that registries and stores send, in the forms they have: the OCI envelope, XML of S3 and Azure, plain text, HTML.
 */
import type { Answer } from "./visit.ts";

type Headers = Readonly<Record<string, string | readonly string[]>>;

export function json(value: unknown, headers: Headers = {}, status = 200): Answer {
  const body = Buffer.from(JSON.stringify(value));
  return { status, headers: { "content-type": "application/json; charset=utf-8", ...headers }, body };
}

/** distribution-spec, "Error Codes". A detail that is left out is left out on the wire. */
export function ociError(
  status: number,
  code: string,
  message: string,
  detail?: unknown,
  headers: Headers = {},
): Answer {
  const error = detail === undefined ? { code, message } : { code, message, detail };
  return json({ errors: [error] }, headers, status);
}

export function text(status: number, body: string, headers: Headers = {}): Answer {
  return { status, headers: { "content-type": "text/plain; charset=utf-8", ...headers }, body: Buffer.from(body) };
}

export function html(status: number, body: string, headers: Headers = {}): Answer {
  return { status, headers: { "content-type": "text/html", ...headers }, body: Buffer.from(body) };
}

export function xml(status: number, body: string, headers: Headers = {}): Answer {
  const document = `<?xml version="1.0" encoding="UTF-8"?>\n${body}`;
  return { status, headers: { "content-type": "application/xml", ...headers }, body: Buffer.from(document) };
}

/** As Go's `http.Redirect` sends it: a little HTML for browsers. */
export function moved(status: number, location: string, headers: Headers = {}): Answer {
  const body = `<a href="${location.replaceAll("&", "&amp;")}">${status === 302 ? "Found" : "Temporary Redirect"}</a>.\n\n`;
  return html(status, body, { location, ...headers, "content-type": "text/html; charset=utf-8" });
}
