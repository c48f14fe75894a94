/**
 * GitLab's registry and its dependency proxy.
 *
 * - Registry: the realm is the application's host, not the registry's; self-managed, the two may be on unrelated domains
 *   (GitLab docs, "Container registry administration"). The answer to a token's question holds the token alone; a wrong
 *   password is 401 (gitlabhq, app/controllers/jwt_controller.rb). 5 minutes, 15 on gitlab.com (GitLab docs,
 *   "Authenticate with the container registry").
 * - Blobs: 307 to the content network, which says `Cache-Control: private, max-age=0` of what never changes.
 * - Referrers: not there yet (gitlab-org/container-registry#1205).
 * - Dependency proxy: nobody is let in without password; 401 has an empty body and names a service but no scope
 *   (gitlabhq, app/controllers/concerns/dependency_proxy/auth.rb); the token is the user's, for all of the groups; what it
 *   sends is in app/controllers/groups/dependency_proxy_for_containers_controller.rb; there are no lists.
 */
import { Shelves } from "../../shelves.ts";
import { json, ociError, text } from "../answers.ts";
import { type Enclosure, type Family, stock, Turnstile } from "../enclosure.ts";
import { Registry } from "../registry.ts";
import { GOOGLE, redirectTo, Storage } from "../storage.ts";
import { bearerGate, scopeAndError, TokenServer } from "../tokenserver.ts";
import type { Account } from "../visit.ts";

const DEPLOY_TOKEN: Account = { username: "gitlab+deploy-token-4711", password: "gldt-zoo_zoo_zoo_zoo_zoo" };
const WRONG = ociError(
  401,
  "UNAUTHORIZED",
  "HTTP Basic: Access denied. If a password was provided for Git authentication, the password was incorrect or you're required to use a token instead of a password.",
);
const LIMITED = text(429, "Retry later\n", {
  "retry-after": "60",
  "ratelimit-limit": "250",
  "ratelimit-remaining": "0",
});

interface Place {
  readonly host: string;
  readonly application: string;
  readonly cdn: string;
  /** Where nothing in the names of the two hosts says that they belong together. */
  readonly tokenRealm?: string;
}

const GITLAB_COM: Place = {
  host: "registry.gitlab.com",
  application: "gitlab.com",
  cdn: "cdn.registry.gitlab-static.net",
};
const SELF_MANAGED: Place = {
  host: "registry.example.com",
  application: "sso.example.org",
  cdn: "gateway.example.com",
  tokenRealm: "https://sso.example.org/jwt/auth",
};

function registryOf({ host, application, cdn, tokenRealm }: Place, account: Account | undefined): Enclosure {
  const shelves = new Shelves();
  const first = account === undefined ? "acme/site/app" : "acme/secret/app";
  const names = { first, second: "acme/site/worker", lone: "acme/site/lone", absent: "acme/absent" };
  const tokens = new TokenServer({
    host: application,
    path: "/jwt/auth",
    service: "container_registry",
    accounts: [DEPLOY_TOKEN],
    mayPull: (name, who) => shelves.find(name) !== undefined && (who !== undefined || !name.startsWith("acme/secret/")),
    reply: (token) => ({ token }),
    wrongPassword: WRONG,
    denied: ociError(403, "DENIED", "access forbidden"),
  });
  const storage = new Storage({ host: cdn, flavour: GOOGLE });
  const turnstile = new Turnstile(LIMITED);
  const registry = new Registry({
    shelves,
    gate: bearerGate({
      tokens,
      challenge: (parts) => `Bearer realm="${parts.realm}",service="container_registry"${scopeAndError(parts)}`,
    }),
    headers: { "gitlab-container-registry-version": "v4.26.1-gitlab" },
    openBlob: redirectTo(
      storage,
      (digest) => `/gitlab/docker/registry/v2/blobs/sha256/${digest.slice(7, 9)}/${digest.slice(7)}/data`,
      { signsFor: "used" },
    ),
    referrers: text(404, "404 page not found\n"),
    limit: turnstile.pass,
  });
  return {
    upstream: host,
    ...(tokenRealm === undefined ? {} : { settings: { tokenRealm } }),
    account,
    houses: [
      { host, desks: [registry] },
      { host: application, desks: [tokens] },
      { host: cdn, desks: [storage] },
    ],
    names,
    stock: stock(shelves, names),
    challenges: 1,
    tokens: { each: 1 },
    hops: { manifest: 0, blob: 1 },
    referrers: false,
    expireTokens: () => tokens.expireAll(),
    storage,
    exhaust: turnstile.close,
  };
}

function dependencyProxy(): Enclosure {
  const shelves = new Shelves();
  const below = "acme/dependency_proxy/containers";
  const names = {
    first: `${below}/nginx`,
    second: `${below}/grafana/grafana`,
    lone: `${below}/lone`,
    absent: `${below}/absent`,
  };
  const tokens = new TokenServer({
    host: "gitlab.com",
    path: "/jwt/auth",
    service: "dependency_proxy",
    accounts: [DEPLOY_TOKEN],
    mayPull: () => true,
    ignoresScope: true,
    reply: (token) => ({ token }),
    anonymous: ociError(403, "DENIED", "access forbidden"),
    wrongPassword: WRONG,
  });
  const turnstile = new Turnstile(LIMITED);
  const notFound = () => json("", {}, 404);
  const registry = new Registry({
    shelves,
    gate: bearerGate({
      tokens,
      challenge: ({ realm }) => `Bearer realm="${realm}", service="dependency_proxy"`,
      unauthorized: () => text(401, ""),
    }),
    openBlob: (_visit, content) => ({
      status: 200,
      headers: { "content-type": "application/octet-stream", "content-disposition": 'attachment; filename="blob.gz"' },
      body: content,
    }),
    referrers: text(404, "not found"),
    limit: (_visit, kind) => (kind === "tags" ? { refusal: text(404, "not found") } : turnstile.pass()),
    unknown: { repository: notFound, manifest: notFound, blob: notFound },
  });
  return {
    upstream: "gitlab.com",
    account: DEPLOY_TOKEN,
    houses: [{ host: "gitlab.com", desks: [tokens, registry] }],
    names,
    stock: stock(shelves, names),
    challenges: 1,
    tokens: { each: 1 },
    hops: { manifest: 0, blob: 0 },
    referrers: false,
    tags: false,
    expireTokens: () => tokens.expireAll(),
    exhaust: turnstile.close,
  };
}

export const gitlab: Family = {
  name: "GitLab registry",
  variants: {
    anonymous: () => registryOf(GITLAB_COM, undefined),
    "deploy token": () => registryOf(GITLAB_COM, DEPLOY_TOKEN),
    "self-managed, realm on another domain": () => registryOf(SELF_MANAGED, DEPLOY_TOKEN),
  },
};

export const gitlabDependencyProxy: Family = {
  name: "GitLab dependency proxy",
  variants: { "deploy token": dependencyProxy },
};
