/**
 * Credentials as the configuration names them, and how to get at the secret.
 *
 * The configuration holds where a secret is, not the secret, wherever it can: a file or variable is read once, at start,
 * and a rotated secret takes a restart. Exactly one form, with exactly one source.
 */
import { readFile } from "node:fs/promises";
import * as z from "zod";
import { Failure, messageOf } from "../base/failure.ts";
import { file, text, variable } from "./fields.ts";

export type SecretSource =
  | { readonly from: "value"; readonly value: string }
  | { readonly from: "file"; readonly file: string }
  | { readonly from: "env"; readonly variable: string };

export type Credential =
  | { readonly type: "basic"; readonly username: string; readonly secret: SecretSource }
  | { readonly type: "token"; readonly secret: SecretSource };

const FORMS_TO_COME = ["dockerConfig", "helper", "ecr", "ecrPublic", "google", "azure"] as const;
const FORMS = "{username, password | passwordFile | passwordEnv} or {token | tokenFile | tokenEnv}";

const shape = {
  username: text("The account's name.", "robot"),
  password: text("Its password or access token, in plain text.", "secret"),
  passwordFile: file("A file that holds the password; read at start.", "/run/secrets/password"),
  passwordEnv: variable("The environment variable that holds the password.", "REGISTRY_PASSWORD"),
  token: text("A bearer token, in plain text.", "secret"),
  tokenFile: file("A file that holds the token; read at start.", "/run/secrets/token"),
  tokenEnv: variable("The environment variable that holds the token.", "REGISTRY_TOKEN"),
};

const later = Object.fromEntries(FORMS_TO_COME.map((form) => [form, z.unknown().optional()]));

export const credential = z
  .strictObject({ ...shape, ...later }, { error: `expected ${FORMS}` })
  .superRefine((given, context) => {
    for (const form of FORMS_TO_COME) {
      if (!(form in given)) continue;
      context.addIssue({
        code: "custom",
        path: [form],
        message: `"${form}" is not supported by this version; use ${FORMS}`,
      });
    }
  })
  .transform((given, context): Credential => {
    const password = sourcesOf(given.password, given.passwordFile, given.passwordEnv);
    const token = sourcesOf(given.token, given.tokenFile, given.tokenEnv);
    const [secret] = [...password, ...token];
    if (secret !== undefined && password.length + token.length === 1) {
      if (token.length === 1 && given.username === null) return { type: "token", secret };
      if (password.length === 1 && given.username !== null) return { type: "basic", username: given.username, secret };
    }
    context.addIssue({ code: "custom", message: `expected one of ${FORMS}` });
    return z.NEVER;
  });

function sourcesOf(value: string | null, file: string | undefined, variable: string | null): SecretSource[] {
  const sources: SecretSource[] = [];
  if (value !== null) sources.push({ from: "value", value });
  if (file !== undefined) sources.push({ from: "file", file });
  if (variable !== null) sources.push({ from: "env", variable });
  return sources;
}

/** A credential with its secret at hand. */
export type OpenCredential = { readonly username: string; readonly password: string } | { readonly token: string };

/**
 * Reads the secret, without the line ends that editors leave in files.
 * @throws Failure `invalid` where the file cannot be read, the variable is not set, there is nothing in it, or it is a
 * token that no header can hold
 */
export async function readCredential(
  credential: Credential,
  env: Readonly<Record<string, string | undefined>> = process.env,
): Promise<OpenCredential> {
  const secret = await readSecret(credential.secret, env);
  if (credential.type === "basic") return { username: credential.username, password: secret };
  if (/^[\x21-\x7e]+$/.test(secret)) return { token: secret };
  const message = "holds a space, a line end or another character that a token cannot have";
  throw new Failure("invalid", `${placeOf(credential.secret)} ${message}`);
}

function placeOf(source: SecretSource): string {
  if (source.from === "file") return `the file ${source.file}`;
  return source.from === "env" ? `the environment variable ${source.variable}` : "a token of the configuration";
}

async function readSecret(source: SecretSource, env: Readonly<Record<string, string | undefined>>): Promise<string> {
  if (source.from === "value") return source.value;
  if (source.from === "env") {
    const value = env[source.variable] ?? "";
    if (value !== "") return value;
    throw new Failure("invalid", `the environment variable ${source.variable}, which should hold a secret, is not set`);
  }
  let content: string;
  try {
    content = await readFile(source.file, "utf8");
  } catch (cause) {
    throw new Failure("invalid", `cannot read the secret's file: ${messageOf(cause)}`, { cause });
  }
  const secret = content.replace(/[\r\n]+$/, "");
  if (secret !== "") return secret;
  throw new Failure("invalid", `the file ${source.file}, which should hold a secret, is empty`);
}
