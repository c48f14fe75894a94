/**
 * Quay.
 *
 * - quay/quay, endpoints/v2/__init__.py (`_require_repo_permission`): what is public needs no token at all; what is not, or
 *   is not there, is 401. endpoints/v2/v2auth.py: the token's answer holds the token alone, a wrong password is 401.
 *   endpoints/v2/errors.py: `detail` is always an object.
 * - It has shipped `Basic` before `Bearer` in one header.
 * - Robots are called `namespace+name`: Quay docs, "Robot accounts".
 * - Blobs: 302 to cdn01.quay.io to cdn06.quay.io (Red Hat, "Firewall changes for Quay.io").
 * - Limits are nginx's, and so is the page that says so: quay/quay, conf/nginx/rate-limiting.conf.jnj.
 */
import { Shelves } from "../../shelves.ts";
import { html, ociError } from "../answers.ts";
import { type Enclosure, type Family, stock, Turnstile } from "../enclosure.ts";
import { Registry } from "../registry.ts";
import { CLOUDFRONT, redirectTo, Storage } from "../storage.ts";
import { bearerGate, TokenServer } from "../tokenserver.ts";
import type { Account } from "../visit.ts";

const ROBOT: Account = {
  username: "acme+puller",
  password: "Z00Z00Z00Z00Z00Z00Z00Z00Z00Z00Z00Z00Z00Z00Z00Z00Z00Z00Z00Z00Z00Z",
};
const NGINX =
  "<html>\r\n<head><title>429 Too Many Requests</title></head>\r\n<body>\r\n<center><h1>429 Too Many Requests</h1></center>\r\n<hr><center>nginx/1.22.1</center>\r\n</body>\r\n</html>\r\n";

function enclosure(account: Account | undefined): Enclosure {
  const shelves = new Shelves();
  const space = account === undefined ? "prometheus" : "acme";
  const names = {
    first: `${space}/server`,
    second: `${space}/alerts`,
    lone: `${space}/lone`,
    absent: `${space}/absent`,
  };
  const isPublic = (name: string) => name.startsWith("prometheus/") && shelves.find(name) !== undefined;
  const tokens = new TokenServer({
    host: "quay.io",
    path: "/v2/auth",
    service: "quay.io",
    accounts: [ROBOT],
    mayPull: (name, who) => isPublic(name) || (who !== undefined && shelves.find(name) !== undefined),
    reply: (token) => ({ token }),
    wrongPassword: ociError(
      401,
      "UNAUTHORIZED",
      "Could not find robot with username: acme+puller and supplied password.",
      {},
    ),
  });
  const storage = new Storage({ host: "cdn01.quay.io", flavour: CLOUDFRONT });
  const turnstile = new Turnstile(html(429, NGINX));
  const registry = new Registry({
    shelves,
    gate: bearerGate({
      tokens,
      isOpen: (name, { authorization }) => authorization === undefined && isPublic(name),
      challenge: ({ realm, repository }) => {
        const bearer = `Bearer realm="${realm}",service="quay.io"${repository === undefined ? "" : `,scope="repository:${repository}:pull"`}`;
        return account === undefined ? bearer : `Basic realm="quay.io", ${bearer}`;
      },
      unauthorized: () => ociError(401, "UNAUTHORIZED", "access to the requested resource is not authorized", {}),
    }),
    openBlob: redirectTo(storage, (digest) => `/quayio-production-s3/sha256/${digest.slice(7, 9)}/${digest.slice(7)}`, {
      status: 302,
    }),
    limit: turnstile.pass,
    unknown: {
      manifest: () => ociError(404, "MANIFEST_UNKNOWN", "manifest unknown", {}),
      blob: () => ociError(404, "BLOB_UNKNOWN", "blob unknown to registry", {}),
    },
  });
  return {
    upstream: "quay.io",
    account,
    houses: [
      { host: "quay.io", desks: [tokens, registry] },
      { host: "cdn01.quay.io", desks: [storage] },
    ],
    names,
    stock: stock(shelves, names),
    challenges: account === undefined ? 0 : 1,
    tokens: { each: account === undefined ? 0 : 1 },
    hops: { manifest: 0, blob: 1 },
    referrers: true,
    ...(account === undefined ? {} : { expireTokens: () => tokens.expireAll() }),
    storage,
    exhaust: turnstile.close,
  };
}

export const quay: Family = {
  name: "Quay",
  variants: { anonymous: () => enclosure(undefined), robot: () => enclosure(ROBOT) },
};
