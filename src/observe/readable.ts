/**
 * A log line as one line for people: for a request what Common Log Format tells and how the cache took part, for
 * anything else its message and fields. Pure.
 */

type Fields = Readonly<Record<string, unknown>>;

/** Said elsewhere in the line, or of no use to a reader. */
const LEFT_OUT: ReadonlySet<string> = new Set(["level", "time", "msg", "err"]);

export function readable(line: Fields): string {
  const error = errorOf(line["err"]);
  return `${line["msg"] === "answered" ? requestText(line) : otherText(line)}${error === "" ? "" : ` - ${error}`}`;
}

function requestText(line: Fields): string {
  const { method, status, upstream, repository, reference, kind, cache, bytes, totalMs, userAgent, aborted } = line;
  const name = repository === undefined ? "" : ` ${text(upstream)}/${text(repository)}`;
  const mark = typeof reference === "string" && reference.includes(":") ? "@" : ":";
  const what = `${name}${reference === undefined ? "" : `${mark}${text(reference)}`}`;
  const left = aborted === true ? " (left)" : "";
  return `${text(status)} ${text(method)} ${text(kind)}${what} ${text(cache)} ${text(bytes)}B ${text(totalMs)}ms ${text(userAgent)}${left}`;
}

function otherText(line: Fields): string {
  const fields = Object.entries(line)
    .filter(([name]) => !LEFT_OUT.has(name))
    .map(([name, value]) => `${name}=${typeof value === "string" ? value : JSON.stringify(value)}`);
  return [text(line["msg"]), ...fields].join(" ");
}

function errorOf(value: unknown): string {
  if (typeof value !== "object" || value === null) return "";
  const { message, stack } = value as Fields;
  return typeof stack === "string" ? stack : text(message).trim();
}

function text(value: unknown): string {
  return value === undefined || value === null ? "-" : String(value);
}
