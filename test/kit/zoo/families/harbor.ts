/**
 * Harbor, and one of its proxy projects.
 *
 * - goharbor/harbor, src/server/middleware/v2auth/auth.go: a public project is open to a GET, but wants any `Authorization`
 *   at all with a HEAD; a request with one that is refused gets `Basic realm="harbor"` instead of the Bearer challenge, and
 *   Basic is taken on the API itself.
 * - The token's answer has an empty `access_token` and 30 minutes (containerd#10374 shows one).
 * - Robots are called `robot$project+name`: Harbor docs, "Create Project Robot Accounts".
 * - Proxy projects: Harbor docs, "Configure Proxy Cache": `<project>/<repository of the other registry>`.
 */
import { Shelves } from "../../shelves.ts";
import { ociError } from "../answers.ts";
import { type Enclosure, type Family, stock, Turnstile } from "../enclosure.ts";
import { Registry } from "../registry.ts";
import { redirectTo, S3, Storage } from "../storage.ts";
import { bearerGate, TokenServer } from "../tokenserver.ts";
import type { Account } from "../visit.ts";

const HOST = "harbor.example.com";
const BUCKET = "harbor-storage.s3.eu-central-1.amazonaws.com";
const ROBOT: Account = { username: "robot$team+puller", password: "zooZooZooZooZooZooZooZooZooZoo$1" };

function enclosure(account: Account | undefined, project: string, stored: "inline" | "redirected"): Enclosure {
  const shelves = new Shelves();
  const names = {
    first: `${project}/library/nginx`,
    second: `${project}/library/redis`,
    lone: `${project}/library/lone`,
    absent: `${project}/library/absent`,
  };
  const tokens = new TokenServer({
    host: HOST,
    path: "/service/token",
    service: "harbor-registry",
    accounts: [ROBOT],
    mayPull: (_name, who) => account === undefined || who !== undefined,
    reply: (token) => ({ token, access_token: "", expires_in: 1800, issued_at: new Date().toISOString() }),
    wrongPassword: ociError(401, "UNAUTHORIZED", "unauthorized"),
  });
  const storage = new Storage({ host: BUCKET, flavour: S3 });
  const turnstile = new Turnstile(ociError(429, "TOOMANYREQUESTS", "too many requests"));
  const registry = new Registry({
    shelves,
    gate: bearerGate({
      tokens,
      accounts: [ROBOT],
      isOpen: (_name, { method, authorization }) =>
        account === undefined && (method === "GET" || authorization !== undefined),
      challenge: ({ realm, repository, error }) =>
        error === undefined
          ? `Bearer realm="${realm}",service="harbor-registry"${repository === undefined ? "" : `,scope="repository:${repository}:pull"`}`
          : 'Basic realm="harbor"',
      unauthorized: (repository) =>
        ociError(
          401,
          "UNAUTHORIZED",
          `unauthorized to access repository: ${repository ?? ""}, action: pull: unauthorized to access repository: ${repository ?? ""}, action: pull`,
        ),
    }),
    ...(stored === "inline"
      ? {}
      : {
          openBlob: redirectTo(
            storage,
            (digest) => `/docker/registry/v2/blobs/sha256/${digest.slice(7, 9)}/${digest.slice(7)}/data`,
            { signsFor: "used" },
          ),
        }),
    limit: turnstile.pass,
    unknown: {
      repository: (name) => ociError(404, "NOT_FOUND", `repository ${name} not found`),
      manifest: (name, reference) => ociError(404, "NOT_FOUND", `artifact ${name}:${reference} not found`),
    },
  });
  return {
    upstream: HOST,
    account,
    houses: [
      { host: HOST, desks: [tokens, registry] },
      { host: BUCKET, desks: [storage] },
    ],
    names,
    stock: stock(shelves, names),
    challenges: 1,
    tokens: { each: 1 },
    hops: { manifest: 0, blob: stored === "inline" ? 0 : 1 },
    referrers: true,
    renewal: account === undefined ? { challenges: 0, tokens: 0 } : { challenges: 1, tokens: 0 },
    expireTokens: () => tokens.expireAll(),
    ...(stored === "redirected" ? { storage } : {}),
    exhaust: turnstile.close,
  };
}

export const harbor: Family = {
  name: "Harbor",
  variants: {
    anonymous: () => enclosure(undefined, "public", "inline"),
    robot: () => enclosure(ROBOT, "team", "inline"),
  },
};

export const harborProxy: Family = {
  name: "Harbor proxy project",
  variants: { robot: () => enclosure(ROBOT, "dockerhub-proxy", "redirected") },
};
