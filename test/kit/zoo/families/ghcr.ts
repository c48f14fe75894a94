/**
 * GitHub's registry.
 *
 * - A token is needed for public packages too, and is refused for what is not there or not ours: 403 DENIED
 *   (deliveryhero/helm-charts#765, ricoberger/echoserver#13).
 * - Personal access token as password: GitHub docs, "Working with the Container registry"; in base64 it is taken for a token
 *   itself (argocd-image-updater#303).
 * - `Accept` must name the manifest's type (Mic92/niks3#229). No referrers API: 404 (comparison tables of 2026).
 * - 429 says in its text how long to wait, and in no header: dependabot/cli#380, falcosecurity/plugins#1069.
 */
import { Shelves } from "../../shelves.ts";
import { ociError } from "../answers.ts";
import { type Enclosure, type Family, stock, Turnstile } from "../enclosure.ts";
import { Registry } from "../registry.ts";
import { AZURE, redirectTo, Storage } from "../storage.ts";
import { bearerGate, TokenServer } from "../tokenserver.ts";
import type { Account } from "../visit.ts";

const ACCOUNT: Account = { username: "octocat", password: "ghp_zooZooZooZooZooZooZooZooZooZooZooZoo" };
const DENIED = ociError(403, "DENIED", "denied");

const AS_TOKEN = Buffer.from(ACCOUNT.password).toString("base64");

function enclosure(account: Account | undefined, shown: "password" | "token" = "password"): Enclosure {
  const shelves = new Shelves();
  const first = account === undefined ? "acme/public/app" : "acme/private";
  const names = { first, second: "acme/worker", lone: "acme/lone", absent: "acme/absent" };
  const isThere = (name: string) => shelves.find(name) !== undefined;
  const tokens = new TokenServer({
    host: "ghcr.io",
    path: "/token",
    service: "ghcr.io",
    accounts: [ACCOUNT],
    mayPull: (name, who) => isThere(name) && (who !== undefined || name !== "acme/private"),
    reply: (token) => ({ token }),
    wrongPassword: DENIED,
    denied: DENIED,
  });
  const storage = new Storage({ host: "pkg-containers.githubusercontent.com", flavour: AZURE });
  const turnstile = new Turnstile(ociError(429, "TOOMANYREQUESTS", "retry-after: 1.16364ms, allowed: 44000/minute"));
  const registry = new Registry({
    shelves,
    gate: bearerGate({
      tokens,
      challenge: ({ realm, repository }) =>
        `Bearer realm="${realm}",service="ghcr.io",scope="repository:${repository ?? "user/image"}:pull"`,
      unauthorized: () => ociError(401, "UNAUTHORIZED", "authentication required"),
      forbidden: () => DENIED,
      bearers: [AS_TOKEN],
    }),
    enforcesAccept: true,
    referrers: ociError(404, "MANIFEST_UNKNOWN", "manifest unknown"),
    openBlob: redirectTo(storage, (digest) => `/ghcr1/blobs/${digest}`),
    limit: turnstile.pass,
    unknown: { manifest: () => ociError(404, "MANIFEST_UNKNOWN", "manifest unknown") },
  });
  return {
    upstream: "ghcr.io",
    account: shown === "token" ? undefined : account,
    credentials: shown === "token" ? [{ token: AS_TOKEN }] : undefined,
    houses: [
      { host: "ghcr.io", desks: [tokens, registry] },
      { host: "pkg-containers.githubusercontent.com", desks: [storage] },
    ],
    names,
    stock: stock(shelves, names),
    challenges: shown === "token" ? 0 : 1,
    tokens: { each: shown === "token" ? 0 : 1 },
    hops: { manifest: 0, blob: 1 },
    referrers: false,
    // A repository that is not there is answered in the same words: asked again for nothing, they are clear.
    wrongPasswordShown: 2,
    ...(shown === "token" ? {} : { expireTokens: () => tokens.expireAll() }),
    storage,
    exhaust: turnstile.close,
  };
}

export const ghcr: Family = {
  name: "GHCR",
  variants: {
    anonymous: () => enclosure(undefined),
    "personal access token": () => enclosure(ACCOUNT),
    "token as it is": () => enclosure(ACCOUNT, "token"),
  },
};
