/**
 * Azure Container Registry and Microsoft's own public one.
 *
 * - Challenge, accounts and the form of the token's answer (`access_token` alone, no `expires_in`): Azure/acr,
 *   docs/Token-BasicAuth.md and docs/AAD-OAuth.md. There: a refresh token is a password of the user of all zeros.
 * - `error="invalid_token"` also where nothing was shown: recordings of the Azure SDK (azure-sdk-for-js,
 *   sdk/containerregistry).
 * - Storage: Microsoft Learn, "Mitigate data exfiltration with dedicated data endpoints"; signed for 20 minutes.
 * - Anonymous pull is an option: Microsoft Learn, "Make your container registry content publicly available".
 * - MCR: microsoft/containerregistry, docs/client-firewall-rules.md; no challenge, ever.
 */
import { Shelves } from "../../shelves.ts";
import { ociError } from "../answers.ts";
import { type Enclosure, type Family, stock, Turnstile } from "../enclosure.ts";
import { OPEN, Registry } from "../registry.ts";
import { AZURE, redirectTo, Storage } from "../storage.ts";
import { bearerGate, TokenServer } from "../tokenserver.ts";
import type { Account } from "../visit.ts";

const HOST = "team.azurecr.io";
const PRINCIPAL: Account = { username: "6f1c2d3e-0000-4000-8000-5a5a5a5a5a5a", password: "zoo8Q~zoo.zoo-zoo_zoo~zoo" };
const REFRESH_TOKEN: Account = {
  username: "00000000-0000-0000-0000-000000000000",
  password: `eyJ${"zoo".repeat(300)}`,
};
const LIMITED = ociError(429, "TOOMANYREQUESTS", "too many requests", undefined, { "retry-after": "7" });

function acrEnclosure(account: Account | undefined, dataHost: string): Enclosure {
  const shelves = new Shelves();
  const names = { first: "team/app", second: "team/worker", lone: "team/lone", absent: "team/absent" };
  const refused = (repository: string | undefined) =>
    ociError(
      401,
      "UNAUTHORIZED",
      "authentication required, visit https://aka.ms/acr/authorization for more information.",
      repository === undefined ? null : [{ Type: "repository", Name: repository, Action: "pull" }],
    );
  const tokens = new TokenServer({
    host: HOST,
    path: "/oauth2/token",
    service: HOST,
    accounts: [PRINCIPAL, REFRESH_TOKEN],
    mayPull: (name, who) => name !== "team/absent" && (account === undefined || who !== undefined),
    reply: (token) => ({ access_token: token }),
    identities: { [REFRESH_TOKEN.password]: REFRESH_TOKEN },
    wrongPassword: refused(undefined),
    ...(account === undefined ? {} : { anonymous: refused(undefined) }),
  });
  const storage = new Storage({ host: dataHost, flavour: AZURE });
  const turnstile = new Turnstile(LIMITED);
  const registry = new Registry({
    shelves,
    gate: bearerGate({
      tokens,
      challenge: ({ realm, repository, error = "invalid_token" }) =>
        `Bearer realm="${realm}",service="${HOST}"${repository === undefined ? "" : `,scope="repository:${repository}:pull",error="${error}"`}`,
      unauthorized: refused,
    }),
    headers: {
      "strict-transport-security": "max-age=31536000; includeSubDomains",
      "x-content-type-options": "nosniff",
    },
    openBlob: redirectTo(
      storage,
      (digest) => `/6ec3f7b2a1//docker/registry/v2/blobs/sha256/${digest.slice(7, 9)}/${digest.slice(7)}/data`,
    ),
    limit: turnstile.pass,
  });
  return {
    upstream: HOST,
    account,
    houses: [
      { host: HOST, desks: [tokens, registry] },
      { host: dataHost, desks: [storage] },
    ],
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

function mcrEnclosure(): Enclosure {
  const shelves = new Shelves();
  const names = { first: "dotnet/aspnet", second: "azure-cli", lone: "oss/lone", absent: "oss/absent" };
  const dataHost = "westeurope.data.mcr.microsoft.com";
  const storage = new Storage({ host: dataHost, flavour: AZURE });
  const turnstile = new Turnstile(LIMITED);
  const registry = new Registry({
    shelves,
    gate: OPEN,
    openBlob: redirectTo(
      storage,
      (digest) => `/01031d61e1024861afee5d512651eb9f/docker/registry/v2/blobs/${digest.slice(7)}`,
    ),
    limit: turnstile.pass,
    unknown: {
      manifest: (_name, reference) =>
        ociError(404, "MANIFEST_UNKNOWN", `manifest tagged by "${reference}" is not found`, { Tag: reference }),
    },
  });
  return {
    upstream: "mcr.microsoft.com",
    houses: [
      { host: "mcr.microsoft.com", desks: [registry] },
      { host: dataHost, desks: [storage] },
    ],
    names,
    stock: stock(shelves, names),
    challenges: 0,
    tokens: { each: 0 },
    hops: { manifest: 0, blob: 1 },
    referrers: true,
    storage,
    exhaust: turnstile.close,
  };
}

const SHARED = "weurmanaged1.blob.core.windows.net";

export const acr: Family = {
  name: "Azure Container Registry",
  variants: {
    anonymous: () => acrEnclosure(undefined, SHARED),
    "service principal": () => acrEnclosure(PRINCIPAL, SHARED),
    "refresh token as password": () => acrEnclosure(REFRESH_TOKEN, SHARED),
    "dedicated data endpoint": () => acrEnclosure(PRINCIPAL, "team.westeurope.data.azurecr.io"),
  },
};

export const mcr: Family = { name: "Microsoft Artifact Registry", variants: { anonymous: mcrEnclosure } };
