/**
 * Who may speak to the admin API, which knows no passwords: programs, and pages of its own origin. Pure.
 *
 * A browser on this machine is led by pages of anyone. They may not change anything (`Origin`, `Sec-Fetch-Site`), and a
 * name of theirs that was made to resolve to this address leads nowhere (DNS rebinding): a `Host` must be an IP address,
 * localhost, or a name that was configured. No answer carries a CORS header.
 */
import type { IncomingHttpHeaders } from "node:http";
import { isIP } from "node:net";

export interface Refusal {
  readonly status: number;
  readonly message: string;
}

const SAFE: ReadonlySet<string> = new Set(["GET", "HEAD", "OPTIONS"]);
const OWN_SITE: ReadonlySet<string> = new Set(["same-origin", "none"]);
const HOST = /^(?:\[([0-9a-f:.]+)\]|([a-z0-9._-]+))(?::\d{1,5})?$/i;

/** @param names host names that are ours, in lower case. @returns why not; undefined where it may. */
export function judgeVisitor(
  { method = "GET", headers }: { readonly method?: string | undefined; readonly headers: IncomingHttpHeaders },
  names: ReadonlySet<string>,
): Refusal | undefined {
  const { host = "", origin } = headers;
  if (!isOurs(host, names)) {
    const message = "the Host header must be an IP address, localhost, or a name in admin.hosts";
    return { status: 421, message };
  }
  if (SAFE.has(method)) return undefined;
  const site = headers["sec-fetch-site"];
  const isForeign = typeof site === "string" && !OWN_SITE.has(site);
  if (isForeign || (origin !== undefined && !isSameOrigin(origin, host))) {
    return { status: 403, message: "a page of another origin may not change anything here" };
  }
  return undefined;
}

function isOurs(host: string, names: ReadonlySet<string>): boolean {
  const match = HOST.exec(host);
  if (match?.[1] !== undefined) return isIP(match[1]) === 6;
  const name = (match?.[2] ?? "").toLowerCase().replace(/\.$/, "");
  return isIP(name) === 4 || name === "localhost" || names.has(name);
}

/** The listener speaks plain HTTP; what stands in front of it may not. */
function isSameOrigin(origin: string, host: string): boolean {
  const given = origin.toLowerCase();
  return given === `http://${host.toLowerCase()}` || given === `https://${host.toLowerCase()}`;
}
