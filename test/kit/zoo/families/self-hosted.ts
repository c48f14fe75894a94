/**
 * Registries of one's own: distribution 2 and 3 behind nothing, a password or a token server; Docker Trusted Registry;
 * Gitea and Forgejo, which are on nobody's list.
 *
 * - distribution: registry/auth/htpasswd/access.go, registry/auth/token/accesscontroller.go (challenges),
 *   registry/handlers/manifests.go (3 wants the type of an index in `Accept`); no referrers API in either: 404 by the router.
 * - DTR, now MSR: Mirantis docs, "MSR API" and "Use a client certificate"; its token server is at `/auth/token`.
 * - Gitea: routers/api/packages/container/container.go: two challenges, the token is the user's and good for all of
 *   theirs, blobs are sent whole whatever the range. Codeberg has been seen to send both challenges in one header.
 */
import { Shelves } from "../../shelves.ts";
import { ociError, text } from "../answers.ts";
import { type Enclosure, type Family, stock, Turnstile } from "../enclosure.ts";
import { type Gate, OPEN, Registry } from "../registry.ts";
import { basicGate, bearerGate, scopeAndError, TokenServer } from "../tokenserver.ts";
import type { Account, Answer, House } from "../visit.ts";

/** With what breaks who builds a header by hand: a colon, blanks, letters beyond ASCII. */
const passwordOf = (host: string): Account => ({ username: "puller", password: `correct:horse stäple of ${host}` });
const ACCOUNT = passwordOf("registry.example.com");
const NAMES = { first: "team/app", second: "worker", lone: "team/lone", absent: "team/absent" };
const NO_ROUTE = text(404, "404 page not found\n");

interface Keeping {
  readonly host: string;
  readonly gate: Gate;
  readonly tokens?: TokenServer;
  readonly tokenHost?: string;
  readonly tokenCount?: Enclosure["tokens"];
  readonly account?: Account | undefined;
  readonly enforcesAccept?: boolean;
  readonly referrers?: Answer;
  readonly ignoresRanges?: boolean;
}

function enclosure(keeping: Keeping): Enclosure {
  const { host, gate, tokens, tokenHost = host, account, enforcesAccept = false, referrers, ignoresRanges } = keeping;
  const shelves = new Shelves();
  const turnstile = new Turnstile(ociError(429, "TOOMANYREQUESTS", "too many requests"));
  const registry = new Registry({
    shelves,
    gate,
    enforcesAccept,
    limit: turnstile.pass,
    ...(referrers === undefined ? {} : { referrers }),
    ...(ignoresRanges === true
      ? {
          openBlob: (_visit, content) => ({
            status: 200,
            headers: { "docker-content-digest": content.digest, etag: `"${content.digest}"` },
            body: content,
          }),
        }
      : {}),
  });
  const api: House = { host, desks: [...(tokens !== undefined && tokenHost === host ? [tokens] : []), registry] };
  return {
    upstream: host,
    account,
    houses: [api, ...(tokens !== undefined && tokenHost !== host ? [{ host: tokenHost, desks: [tokens] }] : [])],
    names: NAMES,
    stock: stock(shelves, NAMES),
    challenges: gate === OPEN ? 0 : 1,
    tokens: keeping.tokenCount ?? { each: tokens === undefined ? 0 : 1 },
    hops: { manifest: 0, blob: 0 },
    referrers: referrers === undefined,
    ...(tokens === undefined ? {} : { expireTokens: () => tokens.expireAll() }),
    exhaust: turnstile.close,
  };
}

function distributionBearer(): Enclosure {
  const service = "Docker registry";
  const tokenHost = "auth.example.com";
  const tokens = new TokenServer({
    host: tokenHost,
    path: "/auth",
    service,
    accounts: [ACCOUNT],
    mayPull: (_name, who) => who !== undefined,
    // No `expires_in`: 60 seconds then, says the specification.
    reply: (token) => ({ token }),
  });
  const challenge = (parts: Parameters<typeof scopeAndError>[0] & { realm: string }) =>
    `Bearer realm="${parts.realm}",service="${service}"${scopeAndError(parts)}`;
  const gate = bearerGate({ tokens, challenge });
  return enclosure({
    host: "registry.example.com",
    gate,
    tokens,
    tokenHost,
    account: ACCOUNT,
    enforcesAccept: true,
    referrers: NO_ROUTE,
  });
}

function trusted(): Enclosure {
  const host = "dtr.example.com";
  const account = passwordOf(host);
  const tokens = new TokenServer({
    host,
    path: "/auth/token",
    service: host,
    accounts: [account],
    mayPull: (_name, who) => who !== undefined,
    reply: (token) => ({ token, access_token: token, expires_in: 600, issued_at: new Date().toISOString() }),
  });
  const gate = bearerGate({
    tokens,
    challenge: (parts) => `Bearer realm="${parts.realm}",service="${host}"${scopeAndError(parts)}`,
  });
  return enclosure({ host, gate, tokens, account, referrers: NO_ROUTE });
}

function gitea(headers: "one" | "two", isKnown: boolean): Enclosure {
  const host = "git.example.com";
  const ours = passwordOf(host);
  const account = isKnown ? ours : undefined;
  const tokens = new TokenServer({
    host,
    path: "/v2/token",
    service: null,
    accounts: [ours],
    mayPull: (name) => name !== "team/absent",
    ignoresScope: true,
    reply: (token) => ({ token }),
    wrongPassword: text(401, "Unauthorized"),
  });
  const gate = bearerGate({
    tokens,
    accounts: [ours],
    challenge: ({ realm }) =>
      headers === "two"
        ? [`Bearer realm="${realm}"`, "Basic"]
        : `Bearer realm="${realm}",service="container_registry",scope="*",Basic realm="Gitea"`,
    unauthorized: () => ociError(401, "UNAUTHORIZED", "Unauthorized"),
  });
  return enclosure({
    host,
    gate,
    tokens,
    account,
    // Without a scope in the challenge there is one token for each repository; it cannot be known to be good for all.
    tokenCount: headers === "two" ? { each: 1 } : { all: 1 },
    referrers: NO_ROUTE,
    ignoresRanges: true,
  });
}

export const distribution: Family = {
  name: "distribution",
  variants: {
    "no authentication": () => enclosure({ host: "registry.example.com", gate: OPEN, referrers: NO_ROUTE }),
    "htpasswd, Basic": () =>
      enclosure({
        host: "registry.example.com",
        gate: basicGate({ accounts: [ACCOUNT], challenge: 'Basic realm="Registry Realm"' }),
        account: ACCOUNT,
        referrers: NO_ROUTE,
      }),
    "token, Bearer": distributionBearer,
  },
};

export const trustedRegistry: Family = { name: "Docker Trusted Registry", variants: { "user and password": trusted } };

export const onNoList: Family = {
  name: "Gitea (on no list)",
  variants: {
    "anonymous, challenges in one header": () => gitea("one", false),
    "challenges in two headers": () => gitea("two", true),
  },
};
