/**
 * May this token server have our credentials? Pure.
 *
 * The registry's 401 chooses the realm, so the realm is the upstream's word (CVE-2026-33540): a credential goes only to
 * a server bound to the registry by our own table, by host, by registrable domain or by configuration. Anonymous
 * requests may go elsewhere, and pass the address check as every connection does.
 */
import { isIP } from "node:net";
import { getDomain } from "tldts";
import { findKnownAt } from "./known.ts";

const MAX_REALM = 2048;

export interface RealmQuestion {
  readonly realm: string;
  /** Where the registry's API is. */
  readonly endpoint: URL;
  /** What the configuration names, if it does. */
  readonly tokenRealm: string | null;
  readonly withCredential: boolean;
}

export type RealmVerdict = { readonly ask: URL } | { readonly refuse: string };

export function judgeRealm(question: RealmQuestion): RealmVerdict {
  const { endpoint } = question;
  const url = question.realm.length <= MAX_REALM ? URL.parse(question.realm) : null;
  if (url === null) return { refuse: "its realm is not a URL" };
  url.hash = "";
  if (url.username !== "" || url.password !== "") return { refuse: "its realm contains a user name" };
  if (url.protocol !== "https:" && !(url.protocol === "http:" && endpoint.protocol === "http:")) {
    return { refuse: "its realm is not https" };
  }
  if (!question.withCredential || mayHaveCredential(url, question)) return { ask: url };
  return { refuse: "its realm belongs to another site, and credentials are not sent there" };
}

function mayHaveCredential(realm: URL, { endpoint, tokenRealm }: RealmQuestion): boolean {
  if (realm.hostname === endpoint.hostname) return true;
  if (tokenRealm !== null && sameRealm(realm, tokenRealm)) return true;
  if (isIP(realm.hostname.replace(/^\[|\]$/g, "")) !== 0 || /(?:^|\.)localhost\.?$/.test(realm.hostname)) return false;
  if (findKnownAt(endpoint)?.realmHosts.includes(realm.host) === true) return true;
  // Private suffixes count: two tenants of one hosting domain are two sites.
  const domain = getDomain(realm.hostname, { allowPrivateDomains: true });
  return domain !== null && domain === getDomain(endpoint.hostname, { allowPrivateDomains: true });
}

function sameRealm(realm: URL, configured: string): boolean {
  const url = URL.parse(configured);
  return url !== null && url.origin === realm.origin && url.pathname === realm.pathname;
}
