/**
 * Credentials as the configuration names them: where each is to be had, and for which repositories it is.
 *
 * Exactly one form for each item, with exactly one source of a secret; the secrets themselves are read, fetched and
 * renewed in `upstream/credentials/`. No message repeats a value.
 */
import * as z from "zod";
import { file, keyDocs, patternList, text, variable } from "./fields.ts";

export type SecretSource =
  | { readonly from: "value"; readonly value: string }
  | { readonly from: "file"; readonly file: string }
  | { readonly from: "env"; readonly variable: string };

export type CredentialForm =
  | { readonly type: "basic"; readonly username: string; readonly secret: SecretSource }
  | { readonly type: "token"; readonly secret: SecretSource }
  | { readonly type: "dockerConfig"; readonly file: string }
  /** The program is `docker-credential-<name>`. */
  | { readonly type: "helper"; readonly name: string }
  /** The region is left out only where the registry's host names it. */
  | { readonly type: "ecr"; readonly region: string | undefined; readonly roleArn: string | undefined }
  | { readonly type: "ecrPublic" }
  /** Without a key file: the application default credentials. */
  | { readonly type: "google"; readonly keyFile: string | undefined }
  /** A service principal with a secret, which needs the other two; else what the surroundings offer. */
  | {
      readonly type: "azure";
      readonly clientId: string | undefined;
      readonly tenantId: string | undefined;
      readonly secret: SecretSource | undefined;
    }
  | { readonly type: "anonymous" };

export type Credential = CredentialForm & {
  /** Globs over the repository's name, as in `repositories.allow`; never empty. */
  readonly repositories: readonly string[];
};

const FORMS =
  "{username, password | passwordFile | passwordEnv}, {token | tokenFile | tokenEnv}, {dockerConfig}, {helper}, {ecr}, {ecrPublic}, {google}, {azure}, {anonymous: true}";

const REGION = /^[a-z]{2}(?:-[a-z]+){1,3}-\d{1,2}$/;
const ROLE_ARN = /^arn:aws(?:-[a-z]+)*:iam::\d{12}:role\/[\w+=,.@/-]{1,512}$/;
/** No path and no option: it becomes part of a program's name. */
export const HELPER_NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/;
const AZURE_NAME = /^[A-Za-z0-9][A-Za-z0-9.-]{0,127}$/;

const basicOrToken = {
  username: text("The account's name.", "robot"),
  password: text("Its password or access token, in plain text.", "secret"),
  passwordFile: file("A file that holds the password; read again when it changes.", "/run/secrets/password"),
  passwordEnv: variable("The environment variable that holds the password.", "REGISTRY_PASSWORD"),
  repositories: patternList("The repositories that it is used for; left out = all.", ["**"], ["library/*"]),
  token: text("A bearer token, in plain text.", "secret"),
  tokenFile: file("A file that holds the token; read again when it changes.", "/run/secrets/token"),
  tokenEnv: variable("The environment variable that holds the token.", "REGISTRY_TOKEN"),
};

const shape = {
  ...basicOrToken,
  dockerConfig: file(
    "The config.json of `docker login`: auths, credHelpers, credsStore; read again when it changes.",
    "/root/.docker/config.json",
  ),
  helper: named(
    "The program docker-credential-<helper> is asked.",
    HELPER_NAME,
    "pass",
    "the name behind docker-credential-, without a path",
  ),
  ecr: form("Amazon ECR; needs the package @aws-sdk/client-ecr (and @aws-sdk/credential-providers for roleArn).", {
    region: named(
      "The registry's region, where its host does not name it.",
      REGION,
      "eu-west-1",
      "a region, such as eu-west-1",
    ),
    roleArn: named(
      "The role that is assumed first.",
      ROLE_ARN,
      "arn:aws:iam::123456789012:role/pull",
      "a role, such as arn:aws:iam::123456789012:role/pull",
    ),
  }),
  ecrPublic: form("Amazon ECR Public, with an account; needs the package @aws-sdk/client-ecr-public.", {}),
  google: form("Google; needs the package google-auth-library.", {
    keyFile: file(
      "A key file; without it the application default credentials, such as the metadata server.",
      "/run/secrets/google.json",
    ),
  }),
  azure: form("Azure; needs the package @azure/identity. Managed identity unless there is a secret.", {
    clientId: named("The identity's client id.", AZURE_NAME, "00000000-0000-0000-0000-000000000000", "a client id"),
    tenantId: named("The tenant.", AZURE_NAME, "00000000-0000-0000-0000-000000000000", "a tenant's id or domain"),
    clientSecretFile: file(
      "A file that holds a service principal's secret; read again when it changes.",
      "/run/secrets/azure",
    ),
    clientSecretEnv: variable("The environment variable that holds a service principal's secret.", "AZURE_SECRET"),
  }),
  anonymous: z
    .literal(true, { error: "expected true, or nothing at all" })
    .nullish()
    .register(keyDocs, { doc: "Pulls without an account, as one of a pool.", default: null, example: true }),
};

/** The keys of a form that others may follow below: each stands for itself. */
const CLOSED_FORMS = ["dockerConfig", "helper", "ecr", "ecrPublic", "google", "azure", "anonymous"] as const;

type Given = z.output<typeof given>;
const given = z.strictObject(shape, { error: `expected one of ${FORMS}` });

/** The keys that may stand in an item of the list, for the example. */
export const credentialKeys = shape;

export const credential = given.transform((item, context): Credential => {
  const found = formsOf(item);
  const [only] = found;
  const fault = (message: string, ...path: string[]) => {
    context.addIssue({ code: "custom", path, message });
    return z.NEVER;
  };
  if (found.length !== 1 || only === undefined) return fault(halfOf(item) ?? `expected one of ${FORMS}`);
  if (only.type === "basic" && only.username.includes(":")) {
    return fault("holds a colon, which ends a user name (RFC 7617)", "username");
  }
  if (item.repositories.length === 0) return fault("names no repository; leave it out for all", "repositories");
  if (secretsOfAzure(item).length > 1) return fault("holds two secrets; one is enough", "azure");
  if (
    only.type === "azure" &&
    only.secret !== undefined &&
    (only.clientId === undefined || only.tenantId === undefined)
  ) {
    return fault("a service principal's secret needs clientId and tenantId", "azure");
  }
  return { ...only, repositories: item.repositories };
});

const PASSWORDS = "password, passwordFile, passwordEnv";
const TOKENS = "token, tokenFile, tokenEnv";

/** What is missing or too much where it is clear which form was meant. */
function halfOf(item: Given): string | undefined {
  if (CLOSED_FORMS.some((key) => closedForm(key, item) !== undefined)) return undefined;
  const passwords = sourcesOf(item.password, item.passwordFile, item.passwordEnv).length;
  const tokens = sourcesOf(item.token, item.tokenFile, item.tokenEnv).length;
  const isNamed = item.username !== null;
  if (tokens > 1 && passwords === 0 && !isNamed) return `holds ${tokens} tokens; one of ${TOKENS} is expected`;
  if (tokens > 0) return undefined;
  if (passwords > 1) return `holds ${passwords} passwords; one of ${PASSWORDS} is expected`;
  if (isNamed && passwords === 0) return `holds a username and no password; one of ${PASSWORDS} is expected`;
  if (!isNamed && passwords === 1) return "holds a password and no username";
  return undefined;
}

/** Every form that the item could be read as; what belongs to none of them counts as one more. */
function formsOf(item: Given): CredentialForm[] {
  const forms: CredentialForm[] = [];
  const password = sourcesOf(item.password, item.passwordFile, item.passwordEnv);
  const token = sourcesOf(item.token, item.tokenFile, item.tokenEnv);
  for (const secret of password) {
    if (item.username === null) return [];
    forms.push({ type: "basic", username: item.username, secret });
  }
  if (item.username !== null && password.length === 0) return [];
  for (const secret of token) forms.push({ type: "token", secret });
  for (const key of CLOSED_FORMS) {
    const form = closedForm(key, item);
    if (form !== undefined) forms.push(form);
  }
  return forms;
}

/** `ecr:` with nothing below it is a form as `ecr: {}` is. */
function closedForm(key: (typeof CLOSED_FORMS)[number], item: Given): CredentialForm | undefined {
  if (item[key] === undefined) return undefined;
  switch (key) {
    case "dockerConfig":
      return item.dockerConfig === undefined ? undefined : { type: key, file: item.dockerConfig };
    case "helper":
      return item.helper === undefined ? undefined : { type: key, name: item.helper };
    case "ecr":
      return { type: key, region: item.ecr?.region, roleArn: item.ecr?.roleArn };
    case "ecrPublic":
      return { type: key };
    case "google":
      return { type: key, keyFile: item.google?.keyFile };
    case "azure": {
      const [secret] = secretsOfAzure(item);
      return { type: key, clientId: item.azure?.clientId, tenantId: item.azure?.tenantId, secret };
    }
    case "anonymous":
      return item.anonymous === true ? { type: key } : undefined;
  }
}

function secretsOfAzure({ azure }: Given): SecretSource[] {
  return sourcesOf(null, azure?.clientSecretFile, azure?.clientSecretEnv ?? null);
}

function sourcesOf(value: string | null, file: string | undefined, variable: string | null): SecretSource[] {
  const sources: SecretSource[] = [];
  if (value !== null) sources.push({ from: "value", value });
  if (file !== undefined) sources.push({ from: "file", file });
  if (variable !== null) sources.push({ from: "env", variable });
  return sources;
}

/** Keys under the name of a form, which may all be left out. */
function form<Shape extends z.ZodRawShape>(doc: string, keys: Shape) {
  return z.strictObject(keys, { error: "expected keys and values, or {}" }).nullish().register(keyDocs, { doc });
}

/** Text of one shape; null or absent = undefined. */
function named(doc: string, pattern: RegExp, example: string, expected: string) {
  const error = `expected ${expected}`;
  return z
    .string({ error })
    .regex(pattern, { error })
    .nullish()
    .transform((value) => value ?? undefined)
    .register(keyDocs, { doc, default: null, example });
}
