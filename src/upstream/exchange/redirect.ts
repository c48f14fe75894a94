/**
 * What to do with a redirect; pure. Whether the host may be connected to at all is for `addresses.ts`, at each hop.
 *
 * The invariant: a registry reached by TLS never sends us to plain HTTP. Which origin is sent which `Authorization` is for
 * `exchange.ts`; every other header stays.
 */

export const MAX_HOPS = 10;
const MAX_LOCATION = 8192;

export interface Hop {
  /** The `Location` header. */
  readonly location: string | readonly string[] | undefined;
  /** What was asked and answered with the redirect. */
  readonly from: URL;
  /** Where the registry's API is. */
  readonly endpoint: URL;
  /** URLs asked so far with this method, the first included. */
  readonly visited: readonly string[];
}

export type RedirectVerdict =
  | { readonly follow: URL }
  /** Why not, with no part of the location's query. */
  | { readonly refuse: string };

export function judgeRedirect(hop: Hop): RedirectVerdict {
  if (hop.visited.length > MAX_HOPS) return { refuse: `more than ${MAX_HOPS} redirects` };
  if (typeof hop.location !== "string" || hop.location === "") return { refuse: "a redirect without one Location" };
  if (hop.location.length > MAX_LOCATION) return { refuse: "a redirect with an overlong Location" };
  const url = URL.parse(hop.location, hop.from.href);
  if (url === null) return { refuse: "a redirect with a malformed Location" };
  url.hash = "";
  if (url.username !== "" || url.password !== "") return { refuse: "a redirect with a user name in its Location" };
  if (url.protocol !== "https:" && !(url.protocol === "http:" && hop.endpoint.protocol === "http:")) {
    return { refuse: `a redirect to ${url.protocol}//, where only https:// is accepted` };
  }
  if (hop.visited.includes(url.href)) return { refuse: "a redirect loop" };
  return { follow: url };
}

export function isRedirect(status: number): boolean {
  return status === 301 || status === 302 || status === 303 || status === 307 || status === 308;
}
