/**
 * Google Artifact Registry, and gcr.io, which is served by it.
 *
 * - The challenge names no service on pkg.dev, and an unquoted one on gcr.io: as in the test fixtures of several clients.
 * - User names for Basic: Google Cloud, "Configure authentication to Artifact Registry for Docker": `oauth2accesstoken`,
 *   `_json_key`, `_json_key_base64`.
 * - Blobs: 302 with a relative `Location` on the same host (ahmetb/serverless-registry-proxy#8); with the registry's own
 *   `Authorization` it takes no harm, as clients that keep it on one host show.
 * - The refusal names the permission "(or it may not exist)": as Docker shows it to users.
 * - A token question by POST is 404 (containerd, core/remotes/docker/authorizer.go, comments).
 * - 60 000 requests a minute for a project and location: Google Cloud, "Artifact Registry quotas".
 */
import { randomBytes } from "node:crypto";
import { Shelves } from "../../shelves.ts";
import { ociError, text } from "../answers.ts";
import { type Enclosure, type Family, stock, Turnstile } from "../enclosure.ts";
import { Registry } from "../registry.ts";
import { IN_PATH, redirectTo, Storage } from "../storage.ts";
import { bearerGate, type ChallengeParts, TokenServer } from "../tokenserver.ts";
import type { Account } from "../visit.ts";

const ACCESS_TOKEN: Account = { username: "oauth2accesstoken", password: `ya29.${"c.zoo".repeat(200)}` };
const KEY = {
  type: "service_account",
  project_id: "zoo-project",
  private_key: "-----BEGIN PRIVATE KEY-----\nMIIE: zoo\n",
};
/** The whole file is the password: quotes, colons, line ends. */
const JSON_KEY: Account = { username: "_json_key", password: JSON.stringify(KEY, undefined, 2) };

interface Place {
  readonly host: string;
  readonly names: Enclosure["names"];
  readonly challenge: (parts: ChallengeParts) => string;
  readonly headers: Record<string, string>;
}

const PKG_DEV: Place = {
  host: "europe-west1-docker.pkg.dev",
  names: {
    first: "zoo-project/team/app",
    second: "zoo-project/team/worker",
    lone: "zoo-project/team/lone",
    absent: "zoo-project/absent/app",
  },
  challenge: ({ realm, repository }) =>
    `Bearer realm="${realm}"${repository === undefined ? "" : `,scope="repository:${repository}:pull"`}`,
  headers: {},
};

const GCR: Place = {
  host: "gcr.io",
  names: {
    first: "distroless/static",
    second: "distroless/base",
    lone: "distroless/lone",
    absent: "distroless/absent",
  },
  challenge: ({ realm }) => `Bearer realm="${realm}",service=gcr.io`,
  headers: { "x-gcr-using-artifact-registry": "true" },
};

function enclosure({ host, names, challenge, headers }: Place, account: Account | undefined): Enclosure {
  const shelves = new Shelves();
  const isThere = (name: string) => shelves.find(name) !== undefined;
  const tokens = new TokenServer({
    host,
    path: "/v2/token",
    service: null,
    accounts: [ACCESS_TOKEN, JSON_KEY],
    mayPull: (name, who) => isThere(name) && (account === undefined || who !== undefined),
    post: text(404, "Not Found"),
    reply: (token) => ({ token, expires_in: 3600, issued_at: new Date().toISOString() }),
    wrongPassword: ociError(401, "UNAUTHORIZED", "failed authentication"),
  });
  const gate = bearerGate({
    tokens,
    challenge,
    accounts: [ACCESS_TOKEN, JSON_KEY],
    forbidden: (name) =>
      ociError(
        403,
        "DENIED",
        `${account === undefined ? "Unauthenticated request. Unauthenticated requests do not have permission" : "Permission"} "artifactregistry.repositories.downloadArtifacts" denied on resource "projects/zoo-project/locations/europe-west1/repositories/${name.split("/")[1] ?? ""}" (or it may not exist)`,
      ),
  });
  const storage = new Storage({
    host,
    flavour: IN_PATH,
    below: "/artifacts-downloads/",
    owns: (shown) => gate.owns(shown),
  });
  const turnstile = new Turnstile(
    ociError(429, "TOOMANYREQUESTS", "Quota exceeded for quota metric 'Requests per project per region'"),
  );
  const registry = new Registry({
    shelves,
    gate,
    headers,
    openBlob: redirectTo(
      storage,
      (_digest, repository) =>
        `/artifacts-downloads/namespaces/${repository.split("/")[0]}/repositories/${repository.split("/")[1]}/downloads/${randomBytes(90).toString("base64url")}`,
      { status: 302, signsFor: "used", relative: true },
    ),
    limit: turnstile.pass,
    unknown: { manifest: (_name, reference) => ociError(404, "MANIFEST_UNKNOWN", `Failed to fetch "${reference}"`) },
  });
  return {
    upstream: host,
    account,
    houses: [{ host, desks: [tokens, storage, registry] }],
    names,
    stock: stock(shelves, names),
    challenges: 1,
    tokens: { each: 1 },
    hops: { manifest: 0, blob: 1 },
    referrers: true,
    expireTokens: () => tokens.expireAll(),
    storage,
    exhaust: turnstile.close,
  };
}

export const artifactRegistry: Family = {
  name: "Artifact Registry",
  variants: {
    anonymous: () => enclosure(PKG_DEV, undefined),
    oauth2accesstoken: () => enclosure(PKG_DEV, ACCESS_TOKEN),
    _json_key: () => enclosure(PKG_DEV, JSON_KEY),
  },
};

export const gcr: Family = { name: "gcr.io", variants: { anonymous: () => enclosure(GCR, undefined) } };
