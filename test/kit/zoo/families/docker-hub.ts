/**
 * Docker Hub.
 *
 * - Names and hosts: docker/docs, "Docker Hub network requirements" (allow list); one-component names are `library/…`
 *   (distribution/reference, normalize.go).
 * - Challenge and token: distribution, docs/content/spec/auth/token.md, whose example is Docker Hub's.
 * - Limits: docker/docs, content/manuals/docker-hub/usage/pulls.md: 100 or 200 manifest GETs in 6 h, HEAD is free, the
 *   headers are on both; absent means no limit.
 */
import { Shelves } from "../../shelves.ts";
import { json, ociError } from "../answers.ts";
import { type Enclosure, type Family, stock, Turnstile } from "../enclosure.ts";
import { Registry } from "../registry.ts";
import { CLOUDFLARE, redirectTo, Storage } from "../storage.ts";
import { bearerGate, scopeAndError, TokenServer } from "../tokenserver.ts";
import type { Account } from "../visit.ts";

const ACCOUNT: Account = { username: "acmebot", password: "dckr_pat_Zk0-zoo_zoo_zoo_zoo_zoo" };

function enclosure(account: Account | undefined): Enclosure {
  const shelves = new Shelves();
  const first = account === undefined ? "nginx" : "acme/private";
  const names = { first, second: "redis", lone: "library/lone", absent: "acme/absent" };
  const tokens = new TokenServer({
    host: "auth.docker.io",
    path: "/token",
    service: "registry.docker.io",
    accounts: [ACCOUNT],
    mayPull: (name, who) => name.startsWith("library/") || (who !== undefined && name === "acme/private"),
    // "token" and "access_token" for two generations of clients; 300 s as gitlab-ce!4364 found and copied.
    reply: (token) => ({ token, access_token: token, expires_in: 300, issued_at: new Date().toISOString() }),
    wrongPassword: json({ details: "incorrect username or password" }, {}, 401),
  });
  const storage = new Storage({ host: "production.cloudflare.docker.com", flavour: CLOUDFLARE });
  const limit = account === undefined ? 100 : 200;
  let used = 0;
  const turnstile = new Turnstile(
    ociError(
      429,
      "TOOMANYREQUESTS",
      "You have reached your unauthenticated pull rate limit. https://www.docker.com/increase-rate-limit",
    ),
  );
  const registry = new Registry({
    shelves,
    gate: bearerGate({
      tokens,
      challenge: (parts) => `Bearer realm="${parts.realm}",service="registry.docker.io"${scopeAndError(parts)}`,
    }),
    headers: { "strict-transport-security": "max-age=31536000" },
    openBlob: redirectTo(
      storage,
      (digest) => `/registry-v2/docker/registry/v2/blobs/sha256/${digest.slice(7, 9)}/${digest.slice(7)}/data`,
      { signsFor: "used" },
    ),
    limit: (visit, kind) => {
      if (kind !== "manifest") return {};
      if (visit.method === "GET" && !turnstile.closed) used += 1;
      const left = turnstile.closed ? 0 : limit - used;
      const headers = {
        "ratelimit-limit": `${limit};w=21600`,
        "ratelimit-remaining": `${left};w=21600`,
        "docker-ratelimit-source": account === undefined ? "198.51.100.7" : "0b2a7a5e-7d57-4c4f-9a0e-0a1b2c3d4e5f",
      };
      if (left > 0 || visit.method === "HEAD") return { headers };
      const { refusal } = turnstile.pass();
      return refusal === undefined
        ? { headers }
        : { refusal: { ...refusal, headers: { ...refusal.headers, ...headers } } };
    },
  });
  return {
    upstream: "docker.io",
    account,
    houses: [
      { host: "registry-1.docker.io", desks: [registry] },
      { host: "auth.docker.io", desks: [tokens] },
      { host: "production.cloudflare.docker.com", desks: [storage] },
    ],
    names,
    stock: stock(shelves, {
      first: account === undefined ? "library/nginx" : names.first,
      second: "library/redis",
      lone: "library/lone",
    }),
    challenges: 1,
    tokens: { each: 1 },
    hops: { manifest: 0, blob: 1 },
    referrers: true,
    expireTokens: () => tokens.expireAll(),
    storage,
    exhaust: turnstile.close,
  };
}

export const dockerHub: Family = {
  name: "Docker Hub",
  variants: { anonymous: () => enclosure(undefined), "personal access token": () => enclosure(ACCOUNT) },
};
