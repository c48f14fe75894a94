/**
 * Azure Container Registry: an Entra access token is exchanged at the registry itself for a refresh token of some hours,
 * which its token server takes (Azure/acr, `docs/AAD-OAuth.md`).
 *
 * With a secret we are that service principal; without, what `DefaultAzureCredential` finds: environment, workload
 * identity, managed identity.
 */
import type { TokenCredentialOptions } from "@azure/identity";
import { Failure } from "../../base/failure.ts";
import type { SecretSource } from "../../config/credential.ts";
import { accountName } from "./account.ts";
import { CloudCredential, type Given } from "./cloud.ts";
import type { Asking, CredentialSource } from "./credential.ts";
import { askCloud, requireSdk } from "./sdk.ts";
import { type OpenSecret, openSecret } from "./secret.ts";
import type { CredentialSurroundings } from "./surroundings.ts";

export interface AzureOptions {
  readonly clientId: string | undefined;
  readonly tenantId: string | undefined;
  readonly secret: SecretSource | undefined;
}

const LOOKED_FOR =
  "no identity was found in the environment (AZURE_CLIENT_ID and AZURE_CLIENT_SECRET), a workload's or a managed identity; or set clientId, tenantId and clientSecretFile";

interface Cloud {
  readonly scope: string;
  readonly authorityHost: string | undefined;
}

const PUBLIC_CLOUD: Cloud = { scope: "https://containerregistry.azure.net/.default", authorityHost: undefined };
/** By the registries' domain; the national clouds know their resource managers' audience only. */
const NATIONAL_CLOUDS: readonly (Cloud & { readonly domain: string })[] = [
  {
    domain: ".azurecr.cn",
    scope: "https://management.chinacloudapi.cn/.default",
    authorityHost: "https://login.chinacloudapi.cn",
  },
  {
    domain: ".azurecr.us",
    scope: "https://management.usgovcloudapi.net/.default",
    authorityHost: "https://login.microsoftonline.us",
  },
];
/** What registries give where they do not say so. */
const UNKNOWN_LIFE_MS = 60 * 60_000;
const PROCESS_TIMEOUT_MS = 10_000;

/** @throws Failure `invalid` where a secret is given and cannot be had */
export async function openAzure(
  options: AzureOptions,
  surroundings: CredentialSurroundings,
): Promise<CredentialSource> {
  const account = accountName("azure", options.clientId ?? "default");
  const secret =
    options.secret === undefined ? undefined : await openSecret(options.secret, (text) => text, surroundings);
  return new CloudCredential(
    account,
    surroundings,
    async (asking) => {
      const accessToken = await askEntra(options, secret, surroundings, asking);
      return await exchange(accessToken, options.tenantId, surroundings.name, asking);
    },
    () => secret?.lookAgain(),
  );
}

async function askEntra(
  { clientId, tenantId }: AzureOptions,
  secret: OpenSecret<string> | undefined,
  { name, load }: CredentialSurroundings,
  { signal, endpoint }: Asking,
): Promise<string> {
  const { ClientSecretCredential, DefaultAzureCredential } = await requireSdk(load, "@azure/identity", name);
  const { scope, authorityHost } = cloudOf(endpoint);
  const settings = {
    retryOptions: { maxRetries: 1 },
    additionalPolicies: [{ policy: endingWith(signal), position: "perCall" as const }],
    ...(authorityHost === undefined ? {} : { authorityHost }),
  };
  // It keeps what it was given; a new one asks.
  const credential =
    secret !== undefined && clientId !== undefined && tenantId !== undefined
      ? new ClientSecretCredential(tenantId, clientId, await secret.value(), settings)
      : new DefaultAzureCredential({
          ...settings,
          processTimeoutInMs: PROCESS_TIMEOUT_MS,
          ...(tenantId === undefined ? {} : { tenantId }),
          ...(clientId === undefined ? {} : { managedIdentityClientId: clientId, workloadIdentityClientId: clientId }),
        });
  const answer = await askCloud(
    name,
    "Entra ID",
    signal,
    () => credential.getToken(scope, { abortSignal: signal }),
    LOOKED_FOR,
  );
  if (typeof answer?.token === "string" && answer.token !== "") return answer.token;
  throw new Failure("unreachable", `${name}: Entra ID answered without an access token`);
}

type Policy = NonNullable<TokenCredentialOptions["additionalPolicies"]>[number]["policy"];

/** What is told to `getToken` does not reach all of its requests. */
function endingWith(signal: AbortSignal): Policy {
  return {
    name: "wharfinger",
    sendRequest: (request, next) => {
      const own = request.abortSignal;
      request.abortSignal = own instanceof AbortSignal ? AbortSignal.any([own, signal]) : signal;
      return next(request);
    },
  };
}

function cloudOf({ hostname }: URL): Cloud {
  return NATIONAL_CLOUDS.find(({ domain }) => hostname.endsWith(domain)) ?? PUBLIC_CLOUD;
}

async function exchange(
  accessToken: string,
  tenantId: string | undefined,
  name: string,
  { endpoint, post, signal }: Asking,
): Promise<Given> {
  const form = new URLSearchParams({
    grant_type: "access_token",
    service: endpoint.host,
    ...(tenantId === undefined ? {} : { tenant: tenantId }),
    access_token: accessToken,
  });
  const body = await post(new URL("/oauth2/exchange", endpoint.origin), form, signal);
  const token = refreshTokenIn(body);
  if (token === undefined) throw new Failure("unreachable", `${name} exchanged the Entra token for no refresh token`);
  return { held: { kind: "identity", token }, lifeMs: lifeOf(token) ?? UNKNOWN_LIFE_MS };
}

function refreshTokenIn(body: Buffer): string | undefined {
  try {
    const answer: unknown = JSON.parse(body.toString("utf8"));
    const token = typeof answer === "object" && answer !== null && "refresh_token" in answer && answer.refresh_token;
    return typeof token === "string" && /^[\x21-\x7e]+$/.test(token) ? token : undefined;
  } catch {
    return undefined;
  }
}

/** From its issue to its end, as a JWT says both: their difference needs no agreement of clocks. */
function lifeOf(token: string): number | undefined {
  try {
    const claims: unknown = JSON.parse(Buffer.from(token.split(".")[1] ?? "", "base64url").toString("utf8"));
    if (typeof claims !== "object" || claims === null || !("exp" in claims) || !("iat" in claims)) return undefined;
    const lifeMs = (Number(claims.exp) - Number(claims.iat)) * 1000;
    return Number.isFinite(lifeMs) ? lifeMs : undefined;
  } catch {
    return undefined;
  }
}
