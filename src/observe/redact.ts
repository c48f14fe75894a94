/**
 * Takes secrets out of free text before it reaches a log.
 *
 * Made for error messages, URLs and user agents, whoever wrote them. It would rather hide too much than too little: of
 * a URL's query only `ns`, `n` and `last` keep their values, and anything that is named like a secret loses its own.
 * Pure, linear in the text's length, and redacting twice changes nothing.
 */

const HIDDEN = "[redacted]";

/** Values of query parameters that tell something and are no secrets (OCI distribution, containerd). */
const SHOWN_PARAMETERS: ReadonlySet<string> = new Set(["ns", "n", "last"]);

/** `user:password@` between a scheme and its host. */
const USER_INFO = /([a-z][a-z0-9+.-]{0,20}:\/\/)[^\s/?#"'<>@]{0,2000}@/gi;
/** One parameter of a query. */
const PARAMETER = /([?&;])([^\s=&;?#"'<>]{1,200})=([^\s&;#"'<>]*)/g;
/** `Authorization: anything to the line's end`, as header or in JSON. */
const HEADER =
  /\b((?:proxy-)?authorization|(?:set-)?cookie|x-registry-auth|x-amz-security-token)("?\s{0,4}[:=]\s{0,4}"?)[^"\r\n]*/gi;
const SCHEME = /\b(bearer|basic|negotiate|digest)(\s{1,8})(?!sha(?:256|512):)[a-z0-9\-._~+/]{6,}=*/gi;
const NAMED =
  /\b((?:x-amz-)?(?:signature|credential|security-token)|sig|(?:access|refresh|identity|id|bearer|auth)?[_-]?token|passw(?:or)?d|pwd|(?:client[_-]?)?secret|api[_-]?key)("?\s{0,4}[=:]\s{0,4}"?)(?!\s)[^\s"'&;,<>]+/gi;
/** A JSON web token, wherever it stands. */
const WEB_TOKEN = /\beyJ[\w-]{8,}\.[\w-]{4,}(?:\.[\w-]*)?/g;

/** Nothing of interest in a log line is longer; what is cut off is not looked at. */
const MAX_TEXT = 2000;

export function redact(text: string): string {
  const bounded = text.length <= MAX_TEXT ? text : `${text.slice(0, MAX_TEXT)}…`;
  return bounded
    .replace(USER_INFO, `$1${HIDDEN}@`)
    .replace(HEADER, `$1$2${HIDDEN}`)
    .replace(PARAMETER, (whole, mark: string, name: string) =>
      SHOWN_PARAMETERS.has(name.toLowerCase()) ? whole : `${mark}${name}=${HIDDEN}`,
    )
    .replace(SCHEME, `$1$2${HIDDEN}`)
    .replace(NAMED, (whole, name: string, mark: string) => (whole.endsWith(HIDDEN) ? whole : `${name}${mark}${HIDDEN}`))
    .replace(WEB_TOKEN, HIDDEN);
}
