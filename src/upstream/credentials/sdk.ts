/**
 * The clouds' own packages: optional, loaded when a credential that needs one is used for the first time.
 *
 * Their errors carry whole requests and texts from anywhere, so of an error no more is told than its kind.
 */
import { errnoOf, Failure } from "../../base/failure.ts";
import { unlessAborted } from "../../base/singleflight.ts";

export interface Sdks {
  readonly "@aws-sdk/client-ecr": Pick<
    typeof import("@aws-sdk/client-ecr"),
    "ECRClient" | "GetAuthorizationTokenCommand"
  >;
  readonly "@aws-sdk/client-ecr-public": Pick<
    typeof import("@aws-sdk/client-ecr-public"),
    "ECRPUBLICClient" | "GetAuthorizationTokenCommand"
  >;
  readonly "@aws-sdk/credential-providers": Pick<
    typeof import("@aws-sdk/credential-providers"),
    "fromTemporaryCredentials"
  >;
  readonly "google-auth-library": Pick<typeof import("google-auth-library"), "GoogleAuth" | "Compute">;
  readonly "@azure/identity": Pick<
    typeof import("@azure/identity"),
    "ClientSecretCredential" | "DefaultAzureCredential"
  >;
}

export type LoadSdk = <Name extends keyof Sdks>(name: Name) => Promise<Sdks[Name]>;

const LOADERS: { readonly [Name in keyof Sdks]: () => Promise<Sdks[Name]> } = {
  "@aws-sdk/client-ecr": () => import("@aws-sdk/client-ecr"),
  "@aws-sdk/client-ecr-public": () => import("@aws-sdk/client-ecr-public"),
  "@aws-sdk/credential-providers": () => import("@aws-sdk/credential-providers"),
  "google-auth-library": () => import("google-auth-library"),
  "@azure/identity": () => import("@azure/identity"),
};

export const loadSdk: LoadSdk = (name) => LOADERS[name]();

/** @throws Failure `refused` that says what to install, and for which upstream. */
export async function requireSdk<Name extends keyof Sdks>(
  load: LoadSdk,
  name: Name,
  upstream: string,
): Promise<Sdks[Name]> {
  try {
    return await load(name);
  } catch (error) {
    const isMissing = errnoOf(error) === "ERR_MODULE_NOT_FOUND" || errnoOf(error) === "MODULE_NOT_FOUND";
    const state = isMissing ? "is not installed" : "cannot be loaded";
    throw new Failure(
      "refused",
      `${upstream}: its credentials need the package ${name}, which ${state}; run npm install ${name}, and start again`,
    );
  }
}

/** Names of errors that say there is nothing to be had here, whoever is asked. */
const NOTHING_HERE = /^(?:CredentialsProviderError|TokenProviderError|AggregateAuthenticationError)$/;
/** RFC 6749 section 5.2; some packages tell it in no other place than the beginning of their message. */
const OAUTH_NO =
  /^(?:\d{3}: |\w+: )?(invalid_(?:request|client|grant|scope)|un(?:authorized_client|supported_grant_type))\b/;
const THROTTLED = /Throttl|TooManyRequests/;

/**
 * The outcome of a question to a cloud.
 * @param whom for the message: `the AWS API`
 * @param lookedFor where credentials of ours were looked for in vain, and what to do
 * @throws Failure `refused` where the cloud says no, `unreachable` otherwise; or the signal's reason.
 */
export async function askCloud<T>(
  upstream: string,
  whom: string,
  signal: AbortSignal,
  question: () => Promise<T>,
  lookedFor?: string,
): Promise<T> {
  try {
    // Not every package lets go when it is told to.
    return await unlessAborted((async () => question())(), signal);
  } catch (error) {
    signal.throwIfAborted();
    if (error instanceof Failure) throw error;
    const { name, code, status, host } = kindOf(error);
    const place = code !== undefined && host !== undefined ? `${code} ${host}` : code;
    const told = [name, place, status === undefined ? undefined : `status ${status}`].filter(
      (one) => one !== undefined,
    );
    const isNo = status !== undefined && status >= 400 && status < 500 && status !== 408 && status !== 429;
    const isRefusal =
      NOTHING_HERE.test(name ?? "") || OAUTH_NO.test(code ?? "") || (isNo && !THROTTLED.test(name ?? ""));
    const verb = isRefusal ? "gives no credentials" : "cannot be asked for credentials";
    const isOurs = NOTHING_HERE.test(name ?? "") || (host !== undefined && METADATA.test(host));
    const advice = isOurs && lookedFor !== undefined ? `; ${lookedFor}` : "";
    const message = `${upstream}: ${whom} ${verb}${told.length === 0 ? "" : ` (${told.join(", ")})`}${advice}`;
    throw new Failure(isRefusal ? "refused" : "unreachable", message);
  }
}

interface ErrorKind {
  readonly name: string | undefined;
  readonly code: string | undefined;
  readonly status: number | undefined;
  /** That does not resolve. */
  readonly host: string | undefined;
}

/** A cloud's metadata server has an address in that cloud only. */
const METADATA = /^metadata\b/;
const HOST = /^[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?$/;

const NAME = /^[A-Z][A-Za-z]{2,47}(?:Error|Exception)$/;
const CODE =
  /^(?:E(?:CONN(?:REFUSED|RESET|ABORTED)|NOTFOUND|TIMEDOUT|AI_AGAIN|PIPE|(?:HOST|NET)UNREACH|PROTO)|CERT_HAS_EXPIRED|DEPTH_ZERO_SELF_SIGNED_CERT|SELF_SIGNED_CERT_IN_CHAIN|UNABLE_TO_(?:VERIFY_LEAF_SIGNATURE|GET_ISSUER_CERT_LOCALLY)|ERR_TLS_CERT_ALTNAME_INVALID)$/;

/** What an error says of its kind, in words of which there are few: neither a token nor a key is one. */
function kindOf(error: unknown): ErrorKind {
  const fields = asFields(error);
  const response = asFields(fields.response);
  const statuses = [asFields(fields.$metadata).httpStatusCode, fields.statusCode, fields.status, response.status];
  const said = [asFields(fields.errorResponse).error, asFields(response.data).error, fields.message];
  const oauth = said.map((text) => OAUTH_NO.exec(typeof text === "string" ? text : "")?.[1]);
  return {
    name: wordOf([fields.name], NAME),
    code: oauth.find((word) => word !== undefined) ?? wordOf([fields.code, asFields(fields.cause).code], CODE),
    status: statuses.find((one): one is number => Number.isInteger(one)),
    host: causesOf(fields).find(({ code, host }) => code === "ENOTFOUND" && host !== undefined)?.host,
  };
}

/** An error of the system's resolver names the host. */
function causesOf(fields: Readonly<Record<string, unknown>>): { code: unknown; host: string | undefined }[] {
  const cause = asFields(fields.cause);
  return [fields, cause, asFields(cause.cause)].map(({ code, hostname }) => ({
    code,
    host: typeof hostname === "string" && HOST.test(hostname) ? hostname : undefined,
  }));
}

function wordOf(candidates: readonly unknown[], shape: RegExp): string | undefined {
  return candidates.find((one): one is string => typeof one === "string" && shape.test(one));
}

function asFields(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : {};
}
