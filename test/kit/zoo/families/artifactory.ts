/**
 * JFrog Artifactory by its three methods, and by the path that all of them are rewritten to.
 *
 * - JFrog help, "The Docker Repository Path / Reverse Proxy Settings": repository path (`host/<repository key>/image`),
 *   sub-domain (`<repository key>.host/image`), port (`host:<port of the key>/image`); behind each is
 *   `/artifactory/api/docker/<repository key>/v2/…`.
 * - Bearer from `/v2/token`, or Basic (`Artifactory Realm`) where token authentication is off; errors are
 *   `application/json;charset=ISO-8859-1`: containerd#2148 shows headers. A token question by POST is 401 (containerd,
 *   core/remotes/docker/authorizer.go, comments).
 * - Redirects to the cloud's storage: JFrog help, "Redirect download requests to S3/CloudFront".
 */
import { Shelves } from "../../shelves.ts";
import { ociError } from "../answers.ts";
import { type Enclosure, type Family, stock, Turnstile } from "../enclosure.ts";
import { type Gate, Registry } from "../registry.ts";
import { redirectTo, S3, Storage } from "../storage.ts";
import { basicGate, bearerGate, TokenServer } from "../tokenserver.ts";
import type { Account, Answer } from "../visit.ts";

const ACCOUNT: Account = { username: "build@example.com", password: "cmVmdGtuOjAxOjE3NjM3MjAwMDA6em9v" };
const TYPE = { "content-type": "application/json;charset=ISO-8859-1" };
const HEADERS = {
  "x-artifactory-id": "zoo:1a2b3c",
  "x-artifactory-node-id": "art-1",
  "x-jfrog-version": "Artifactory/7.104.7 80407900",
};

interface Method {
  readonly upstream: string;
  readonly url?: string;
  readonly prefix?: string;
  /** In front of image names. */
  readonly key?: string;
  readonly scheme: "bearer" | "basic";
  readonly redirects: boolean;
}

const BUCKET = "jfrog-prod-euw1-shared-ireland-main.s3.amazonaws.com";

function enclosure({ upstream, url, prefix = "", key, scheme, redirects }: Method): Enclosure {
  const shelves = new Shelves();
  const below = key === undefined ? "" : `${key}/`;
  const names = {
    first: `${below}team/app`,
    second: `${below}worker`,
    lone: `${below}lone`,
    absent: `${below}team/absent`,
  };
  const unauthorized = (repository: string | undefined): Answer =>
    ociError(
      401,
      "UNAUTHORIZED",
      repository === undefined
        ? "Bad props auth token"
        : `The client does not have permission for manifest: ${repository}`,
      undefined,
      TYPE,
    );
  const tokens = new TokenServer({
    host: upstream,
    path: `${prefix}/v2/token`,
    service: upstream,
    accounts: [ACCOUNT],
    mayPull: (_name, who) => who !== undefined,
    reply: (token) => ({ token, expires_in: 3600 }),
    anonymous: unauthorized(undefined),
    post: unauthorized(undefined),
    wrongPassword: ociError(401, "UNAUTHORIZED", "Wrong username was used", undefined, TYPE),
  });
  const gate: Gate =
    scheme === "basic"
      ? basicGate({
          accounts: [ACCOUNT],
          challenge: 'Basic realm="Artifactory Realm"',
          unauthorized: unauthorized(undefined),
        })
      : bearerGate({
          tokens,
          challenge: ({ realm, repository }) =>
            `Bearer realm="${realm}",service="${upstream}"${repository === undefined ? "" : `,scope="repository:${repository}:pull"`}`,
          unauthorized,
          accounts: [ACCOUNT],
        });
  const storage = new Storage({ host: BUCKET, flavour: S3 });
  const turnstile = new Turnstile(
    ociError(429, "TOOMANYREQUESTS", "Too many requests", undefined, { ...TYPE, "retry-after": "3" }),
  );
  const registry = new Registry({
    shelves,
    prefix,
    gate,
    headers: HEADERS,
    ...(redirects
      ? {
          openBlob: redirectTo(storage, (digest) => `/filestore/${digest.slice(7, 9)}/${digest.slice(7)}`, {
            status: 302,
          }),
        }
      : {}),
    limit: turnstile.pass,
    unknown: {
      repository: (name) => ociError(404, "NAME_UNKNOWN", "Repository name not known to registry", { name }, TYPE),
      manifest: (_name, reference) =>
        ociError(
          404,
          "MANIFEST_UNKNOWN",
          "The named manifest is not known to the registry.",
          { manifest: reference },
          TYPE,
        ),
    },
  });
  return {
    upstream,
    ...(url === undefined ? {} : { settings: { url } }),
    account: ACCOUNT,
    houses: [
      { host: upstream, desks: [...(scheme === "bearer" ? [tokens] : []), registry] },
      { host: BUCKET, desks: [storage] },
    ],
    names,
    stock: stock(shelves, names),
    challenges: 1,
    tokens: { each: scheme === "bearer" ? 1 : 0 },
    hops: { manifest: 0, blob: redirects ? 1 : 0 },
    referrers: true,
    ...(scheme === "bearer" ? { expireTokens: () => tokens.expireAll() } : {}),
    ...(redirects ? { storage } : {}),
    exhaust: turnstile.close,
  };
}

const DOCKER_LOCAL = "/artifactory/api/docker/docker-local";

export const artifactory: Family = {
  name: "Artifactory",
  variants: {
    "repository path, Bearer": () =>
      enclosure({ upstream: "company.jfrog.io", key: "docker-local", scheme: "bearer", redirects: true }),
    "sub-domain, Basic": () =>
      enclosure({ upstream: "docker-local.artifactory.example.com", scheme: "basic", redirects: false }),
    "port, Bearer": () => enclosure({ upstream: "artifactory.example.com:5001", scheme: "bearer", redirects: false }),
    "url with a path, Bearer": () =>
      enclosure({
        upstream: "artifactory.example.com",
        url: `https://artifactory.example.com${DOCKER_LOCAL}`,
        prefix: DOCKER_LOCAL,
        scheme: "bearer",
        redirects: false,
      }),
  },
};
