/**
 * May this token server have our credentials? Pure.
 *
 * The registry's 401 chooses the realm, so the realm is the upstream's word (CVE-2026-33540): a credential goes only to
 * a server bound to the registry by our own table, by host, by registrable domain or by configuration. Anonymous
 * requests may go elsewhere, and pass the address check as every connection does.
 */
import { isIP } from "node:net";
import { parse } from "tldts";
import { findKnownAt } from "../registries/known.ts";

const MAX_REALM = 2048;

/**
 * Domains where every tenant has a name of its own and the public suffix list does not say so: there a site is one host.
 */
const TENANT_SUFFIXES = [
  "aliyuncs.com",
  "amazonaws.com",
  "amazonaws.com.cn",
  "azurecr.cn",
  "azurecr.io",
  "azurecr.us",
  "core.windows.net",
  "icr.io",
  "jfrog.io",
  "localtest.me",
  "nip.io",
  "ocir.io",
  "on.aws",
  "pkg.dev",
  "scw.cloud",
  "sslip.io",
  "tencentcloudcr.com",
  "vultrcr.com",
];

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
  // Harbor takes the scheme from its `external_url`, and that is http where TLS ends in front of it: the host counts.
  if (url.protocol === "http:" && endpoint.protocol === "https:" && url.hostname === endpoint.hostname) {
    url.protocol = "https:";
  }
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
  const site = findSite(realm.hostname);
  return site !== undefined && site === findSite(endpoint.hostname);
}

/**
 * What one owner has registered. Undefined under a suffix that nobody gives out (`.internal`, `.lan`): two names there
 * may have two owners. Private suffixes count: two tenants of one hosting domain are two sites.
 */
function findSite(absolute: string): string | undefined {
  // The root's dot makes no other name of it.
  const hostname = absolute.replace(/\.$/, "");
  const { domain, isIcann, isPrivate } = parse(hostname, { allowPrivateDomains: true });
  if (domain === null || !(isIcann || isPrivate)) return undefined;
  return TENANT_SUFFIXES.some((suffix) => hostname.endsWith(`.${suffix}`)) ? hostname : domain;
}

function sameRealm(realm: URL, configured: string): boolean {
  const url = URL.parse(configured);
  return url !== null && url.origin === realm.origin && url.pathname === realm.pathname;
}
