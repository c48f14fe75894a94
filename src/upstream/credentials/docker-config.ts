/**
 * Docker's `config.json`: which credential it has for one registry. Pure; nothing in it is shown, and what it holds for
 * other registries is not looked at.
 *
 * Order and key forms follow docker/cli (`cli/config/configfile/file.go`, `credentials/file_store.go`): the registry's own
 * helper, the store for all, the entry under `auths`; keys are hosts, with or without a scheme and a path.
 */

import { Failure } from "../../base/failure.ts";
import { HELPER_NAME } from "../../config/credential.ts";
import { canonicalRegistryName, DOCKER_HUB } from "../../config/registry-name.ts";
import type { Held } from "./credential.ts";

export const MAX_DOCKER_CONFIG_BYTES = 1024 * 1024;

/** The address under which Docker keeps what it has for its Hub. */
const HUB_SERVER = "https://index.docker.io/v1/";

export interface DockerChoice {
  /** Goes before `held`, which stands in where it knows of nothing. */
  readonly program: { readonly name: string; readonly server: string } | undefined;
  readonly held: Held | undefined;
}

type Fields = Readonly<Record<string, unknown>>;

/**
 * @param name the upstream's, under which users log in
 * @throws Failure `invalid`; its message goes behind the name of the file
 */
export function chooseFromDockerConfig(bytes: Buffer, name: string, endpoint: URL): DockerChoice {
  let parsed: unknown;
  try {
    parsed = JSON.parse(bytes.toString("utf8"));
  } catch {
    throw new Failure("invalid", "is not JSON");
  }
  const config = fieldsOf(parsed, "must hold an object");
  const auths = fieldsOf(config.auths ?? {}, "has auths that are no object");
  const helpers = fieldsOf(config.credHelpers ?? {}, "has credHelpers that are no object");
  const wanted = [...new Set([canonicalRegistryName(name), hostOf(endpoint.host)])];
  const helper = findKey(Object.keys(helpers), wanted, endpoint);
  // An empty name is how a registry is excepted from the store.
  const program = helper === undefined ? config.credsStore : helpers[helper];
  const entry = findKey(Object.keys(auths), wanted, endpoint);
  return {
    program: isGiven(program) ? { name: programName(program), server: serverFor(name) } : undefined,
    held: entry === undefined ? undefined : heldIn(fieldsOf(auths[entry], "has an entry in auths that is no object")),
  };
}

function isGiven(program: unknown): boolean {
  return program !== undefined && program !== null && program !== "";
}

function programName(value: unknown): string {
  if (typeof value === "string" && HELPER_NAME.test(value)) return value;
  throw new Failure("invalid", "names a credential helper by something that is no program's name");
}

/** The address that a program is asked for. */
export function serverFor(name: string): string {
  const canonical = canonicalRegistryName(name);
  return canonical === DOCKER_HUB ? HUB_SERVER : canonical;
}

/**
 * The key that says it best: one whose path leads to the API, one without a path, any other for this host; by the first of
 * the names that has one.
 */
function findKey(keys: readonly string[], names: readonly string[], endpoint: URL): string | undefined {
  for (const name of names) {
    const candidates = keys
      .map((key) => ({ key, ...partsOf(key) }))
      .filter(({ host }) => host === name)
      .map(({ key, path }) => ({ key, rank: rankOf(path, endpoint.pathname) }))
      .toSorted((left, right) => right.rank - left.rank);
    const [best] = candidates;
    if (best !== undefined) return best.key;
  }
  return undefined;
}

function rankOf(path: string, wanted: string): number {
  if (path === "") return 1;
  return `${wanted}/`.startsWith(`${path}/`) ? 1 + path.length : 0;
}

function partsOf(key: string): { readonly host: string; readonly path: string } {
  const bare = key.trim().replace(/^https?:\/\//i, "");
  const slash = bare.indexOf("/");
  if (slash < 0) return { host: hostOf(bare), path: "" };
  const path = bare.slice(slash).replace(/\/+$/, "");
  // The API's version is not a path inside the registry.
  return { host: hostOf(bare.slice(0, slash)), path: /^\/v[12]$/.test(path) ? "" : path };
}

function hostOf(host: string): string {
  return canonicalRegistryName(host.replace(/:443$/, ""));
}

/** As docker/cli reads an entry; undefined where it is a mark that a helper has it. */
function heldIn(entry: Fields): Held | undefined {
  const { registrytoken, identitytoken, auth } = entry;
  if (isText(registrytoken)) return { kind: "bearer", token: requireTokenOf(registrytoken) };
  if (isText(identitytoken)) return { kind: "identity", token: requireTokenOf(identitytoken) };
  if (isText(auth)) return decodeAuth(auth);
  const { username, password } = entry;
  if (!isText(username) || !isText(password)) return undefined;
  return { kind: "basic", username, password };
}

function decodeAuth(auth: string): Held {
  const text = /^[A-Za-z0-9+/]+={0,2}$/.test(auth) ? Buffer.from(auth, "base64").toString("utf8") : "";
  const colon = text.indexOf(":");
  if (colon <= 0) throw new Failure("invalid", "has an auth that is not base64 of user:password");
  return { kind: "basic", username: text.slice(0, colon), password: text.slice(colon + 1).replace(/\0+$/, "") };
}

function requireTokenOf(token: string): string {
  if (/^[\x21-\x7e]+$/.test(token)) return token;
  throw new Failure("invalid", "has a token with characters that a token cannot have");
}

function isText(value: unknown): value is string {
  return typeof value === "string" && value !== "";
}

function fieldsOf(value: unknown, otherwise: string): Fields {
  if (typeof value === "object" && value !== null && !Array.isArray(value)) return value as Fields;
  throw new Failure("invalid", otherwise);
}
