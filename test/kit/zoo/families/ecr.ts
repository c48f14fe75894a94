/**
 * Amazon ECR, private and public.
 *
 * - Private: Basic with user `AWS` on every request (Amazon ECR user guide, "Using HTTP API authentication"); challenge,
 *   headers and the plain-text body of the refusal: NVIDIA/enroot#59, google/go-containerregistry#861.
 * - Blobs are on S3 by a URL signed for GET, for HEAD as well: moby/moby#50065; hosts: user guide, "Minimum S3 bucket
 *   permissions".
 * - tags/list refuses `n` over 1000 by 405: renovate, lib/modules/datasource/docker/common.ts.
 * - Public: one token with scope `aws` for all of it (kreuzwerker/terraform-provider-docker#666 has the refusal of Basic);
 *   1 pull a second without account: Amazon ECR Public user guide, "Service quotas".
 */
import { Shelves } from "../../shelves.ts";
import { ociError, text } from "../answers.ts";
import { type Enclosure, type Family, stock, Turnstile } from "../enclosure.ts";
import { Registry } from "../registry.ts";
import { CLOUDFRONT, redirectTo, S3, Storage } from "../storage.ts";
import { basicGate, bearerGate, TokenServer } from "../tokenserver.ts";
import type { Account } from "../visit.ts";

const REGISTRY_ID = "123456789012";
const HOST = `${REGISTRY_ID}.dkr.ecr.eu-west-1.amazonaws.com`;
const BUCKET = "prod-eu-west-1-starport-layer-bucket.s3.eu-west-1.amazonaws.com";
/** What `aws ecr get-login-password` prints is base64 of JSON, some 2.5 KB long. */
const ACCOUNT: Account = {
  username: "AWS",
  password: Buffer.from(`{"payload":"${"zoo".repeat(600)}"}`).toString("base64"),
};

const EXCEEDED = ociError(429, "TOOMANYREQUESTS", "Rate exceeded");

function privateRegistry(): Enclosure {
  const shelves = new Shelves();
  const names = { first: "team/app", second: "deeply/nested/name/worker", lone: "team/lone", absent: "team/absent" };
  const storage = new Storage({ host: BUCKET, flavour: S3 });
  const turnstile = new Turnstile(EXCEEDED);
  const registry = new Registry({
    shelves,
    gate: basicGate({
      accounts: [ACCOUNT],
      challenge: `Basic realm="https://${HOST}/",service="ecr.amazonaws.com"`,
      unauthorized: text(401, "Not Authorized\n"),
    }),
    etag: false,
    openBlob: redirectTo(storage, (digest) => `/4e9d8e5b-${REGISTRY_ID}/${digest.slice(7)}`),
    pageTooLarge: { over: 1000, answer: ociError(405, "UNSUPPORTED", "Invalid parameter at 'n'") },
    limit: turnstile.pass,
    unknown: {
      repository: (name) =>
        ociError(
          404,
          "NAME_UNKNOWN",
          `The repository with name '${name}' does not exist in the registry with id '${REGISTRY_ID}'`,
        ),
      manifest: () => ociError(404, "MANIFEST_UNKNOWN", "Requested image not found"),
      blob: () => ociError(404, "BLOB_UNKNOWN", "Requested layer not found"),
    },
  });
  return {
    upstream: HOST,
    account: ACCOUNT,
    houses: [
      { host: HOST, desks: [registry] },
      { host: BUCKET, desks: [storage] },
    ],
    names,
    stock: stock(shelves, names),
    challenges: 1,
    tokens: { each: 0 },
    hops: { manifest: 0, blob: 1 },
    referrers: true,
    storage,
    exhaust: turnstile.close,
  };
}

const PUBLIC_ACCOUNT: Account = { username: "AWS", password: `${ACCOUNT.password.slice(0, 1_200)}public` };

function publicRegistry(account: Account | undefined): Enclosure {
  const shelves = new Shelves();
  const names = { first: "docker/library/nginx", second: "eks/pause", lone: "acme/lone", absent: "acme/absent" };
  const tokens = new TokenServer({
    host: "public.ecr.aws",
    path: "/token/",
    service: "public.ecr.aws",
    accounts: [PUBLIC_ACCOUNT],
    mayPull: () => true,
    scopeOfAll: "aws",
    reply: (token) => ({ token }),
    wrongPassword: ociError(401, "DENIED", "Your Authorization Token is invalid."),
  });
  const storage = new Storage({ host: "d5l0dvt14r5h8.cloudfront.net", flavour: CLOUDFRONT });
  const turnstile = new Turnstile(EXCEEDED);
  const registry = new Registry({
    shelves,
    gate: bearerGate({
      tokens,
      challenge: ({ realm }) => `Bearer realm="${realm}",service="public.ecr.aws",scope="aws"`,
      unauthorized: () => ociError(401, "DENIED", "Not Authorized"),
    }),
    etag: false,
    openBlob: redirectTo(storage, (digest) => `/docker/${digest.slice(7)}`),
    limit: turnstile.pass,
    unknown: {
      repository: (name) =>
        ociError(
          404,
          "NAME_UNKNOWN",
          `The repository with name '${name.split("/").slice(1).join("/")}' does not exist in the registry`,
        ),
    },
  });
  return {
    upstream: "public.ecr.aws",
    account,
    houses: [
      { host: "public.ecr.aws", desks: [tokens, registry] },
      { host: "d5l0dvt14r5h8.cloudfront.net", desks: [storage] },
    ],
    names,
    stock: stock(shelves, names),
    challenges: 1,
    tokens: { all: 1 },
    hops: { manifest: 0, blob: 1 },
    referrers: true,
    expireTokens: () => tokens.expireAll(),
    storage,
    exhaust: turnstile.close,
  };
}

export const ecr: Family = { name: "Amazon ECR", variants: { "AWS password": privateRegistry } };

export const ecrPublic: Family = {
  name: "Amazon ECR Public",
  variants: { anonymous: () => publicRegistry(undefined), "AWS password": () => publicRegistry(PUBLIC_ACCOUNT) },
};
