/**
 * Amazon ECR: a password of twelve hours, by `GetAuthorizationToken`, private ones from the registry's region and public
 * ones from us-east-1 only (Amazon ECR user guides, "Private registry authentication", "Public registry authentication").
 *
 * Who we are to AWS is its packages' own business: environment, shared files, web identity, container, instance. A
 * client lives for one question, so that no connection of it stays.
 */

import { Failure } from "../../base/failure.ts";
import { findEcrHost } from "../../config/ecr-host.ts";
import { accountName } from "./account.ts";
import { CloudCredential, type Given } from "./cloud.ts";
import type { CredentialSource } from "./credential.ts";
import { askCloud, requireSdk } from "./sdk.ts";
import type { CredentialSurroundings } from "./surroundings.ts";

const PUBLIC_REGION = "us-east-1";
const LOOKED_FOR =
  "no AWS credentials were found in the environment (AWS_ACCESS_KEY_ID, AWS_PROFILE), ~/.aws, a web identity, the container's or the instance's role";
const HTTP = { connectionTimeout: 5_000, requestTimeout: 10_000, httpAgent: { keepAlive: false } } as const;

export interface EcrOptions {
  readonly region: string | undefined;
  readonly roleArn: string | undefined;
}

/** @throws Failure `invalid` where neither the options nor the registry's host name a region */
export function openEcr(options: EcrOptions, surroundings: CredentialSurroundings): CredentialSource {
  const { name, endpoint, clock, env, load } = surroundings;
  const host = findEcrHost(endpoint.hostname) ?? findEcrHost(name);
  const region = options.region ?? host?.region;
  if (region === undefined) throw new Failure("invalid", `${name}: its ecr credential needs a region`);
  const account = host === undefined ? accountName("ecr", region) : accountName("ecr", `${host.account}/${region}`);
  return new CloudCredential(account, surroundings, async ({ signal }) => {
    const { ECRClient, GetAuthorizationTokenCommand } = await requireSdk(load, "@aws-sdk/client-ecr", name);
    const { roleArn } = options;
    const settings = { region, maxAttempts: 2, requestHandler: handlerFor(env) };
    const assumed =
      roleArn === undefined
        ? undefined
        : (await requireSdk(load, "@aws-sdk/credential-providers", name)).fromTemporaryCredentials({
            params: { RoleArn: roleArn, RoleSessionName: "wharfinger" },
            clientConfig: settings,
          });
    const client = new ECRClient({ ...settings, ...(assumed === undefined ? {} : { credentials: assumed }) });
    try {
      const { authorizationData } = await askCloud(
        name,
        "the ECR API",
        signal,
        () => client.send(new GetAuthorizationTokenCommand({}), { abortSignal: signal }),
        LOOKED_FOR,
      );
      return readAuthorization(authorizationData?.[0], name, clock.now());
    } finally {
      client.destroy();
    }
  });
}

export function openEcrPublic(surroundings: CredentialSurroundings): CredentialSource {
  const { name, clock, env, load } = surroundings;
  return new CloudCredential("ecr-public", surroundings, async ({ signal }) => {
    const sdk = await requireSdk(load, "@aws-sdk/client-ecr-public", name);
    const client = new sdk.ECRPUBLICClient({ region: PUBLIC_REGION, maxAttempts: 2, requestHandler: handlerFor(env) });
    try {
      const { authorizationData } = await askCloud(
        name,
        "the ECR Public API",
        signal,
        () => client.send(new sdk.GetAuthorizationTokenCommand({}), { abortSignal: signal }),
        LOOKED_FOR,
      );
      return readAuthorization(authorizationData, name, clock.now());
    } finally {
      client.destroy();
    }
  });
}

/** AWS's packages take no notice of proxies; Node's agents do where they are told of the variables. */
function handlerFor(env: CredentialSurroundings["env"]) {
  return { ...HTTP, httpsAgent: { keepAlive: false, proxyEnv: { ...env } } };
}

interface Authorization {
  /** Base64 of `AWS:<password>`. */
  readonly authorizationToken?: string | undefined;
  readonly expiresAt?: Date | undefined;
}

function readAuthorization(given: Authorization | undefined, name: string, now: number): Given {
  const pair = Buffer.from(given?.authorizationToken ?? "", "base64").toString("utf8");
  const colon = pair.indexOf(":");
  const endsAt = given?.expiresAt?.getTime() ?? Number.NaN;
  if (colon <= 0 || colon === pair.length - 1 || Number.isNaN(endsAt)) {
    throw new Failure("unreachable", `${name}: AWS answered something that is no ECR password`);
  }
  const held = { kind: "basic", username: pair.slice(0, colon), password: pair.slice(colon + 1) } as const;
  return { held, lifeMs: endsAt - now };
}
