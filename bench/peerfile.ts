/**
 * A peer that is described by a file: any server that can take the place of the mirror. See README.md.
 *
 * Parsing is strict: a key that is misspelt must not become a peer that is measured in another way than was meant.
 */
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { freePort } from "../test/e2e/processes.ts";
import { get } from "../test/kit/http.ts";
import { Daemon } from "./daemon.ts";
import { type LibraryBlob, type LibraryManifest, REPOSITORY, TAG } from "./library.ts";
import { needProgram } from "./programs.ts";
import type { Served } from "./served.ts";

export interface PeerFile {
  readonly name: string;
  /** In one line, for the head of the results. */
  readonly what: string;
  readonly command: string;
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  /** Written below {dir} before it starts: name → text. */
  readonly files: Readonly<Record<string, string>>;
  /** Path that answers 200 when it is ready. */
  readonly ready: string;
  readonly blob: string;
  readonly manifest: string;
}

const DEFAULTS = {
  ready: "/v2/",
  blob: "/v2/{repository}/blobs/{digest}",
  manifest: "/v2/{repository}/manifests/{tag}",
};
const KEYS = ["name", "what", "command", "args", "env", "files", "ready", "blob", "manifest"];
/** What commands, arguments, variables and files may name. */
const START_KEYS = ["port", "dir", "upstream", "upstreamHost"];
/** What paths may name. */
const PATH_KEYS = ["repository", "digest", "hex", "tag"];

/** @throws with what is wrong, and in which file. */
export function parsePeer(text: string, file: string): PeerFile {
  const wrong = (what: string) => new Error(`${file}: ${what}`);
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (error) {
    throw wrong(`is not JSON: ${error instanceof Error ? error.message : error}`);
  }
  if (!isRecord(json)) throw wrong("must be an object");
  const strange = Object.keys(json).filter((key) => !KEYS.includes(key));
  if (strange.length > 0) throw wrong(`unknown key ${strange.join(", ")}; there are: ${KEYS.join(" ")}`);

  const string = (key: string, fallback?: string): string => {
    const value = json[key] ?? fallback;
    if (typeof value !== "string" || value === "") throw wrong(`${key} must be a text that is not empty`);
    return value;
  };
  const record = (key: string): Record<string, unknown> => {
    const value = json[key] ?? {};
    if (!isRecord(value)) throw wrong(`${key} must be an object`);
    return value;
  };
  const path = (key: keyof typeof DEFAULTS): string => {
    const value = string(key, DEFAULTS[key]);
    if (!value.startsWith("/")) throw wrong(`${key} must begin with /`);
    return checked(value, key, PATH_KEYS);
  };
  const checked = (value: string, key: string, known: readonly string[]): string => {
    const unknown = placeholdersIn(value).filter((name) => !known.includes(name));
    if (unknown.length === 0) return value;
    throw wrong(
      `${key}: unknown placeholder {${unknown[0]}}; there are: ${known.map((name) => `{${name}}`).join(" ")}`,
    );
  };

  const name = string("name");
  if (!/^[\w.-]{1,40}$/.test(name)) throw wrong("name must be letters, digits, dots and dashes, at most 40");
  if (["mirror", "nginx", "docker-registry", "origin", "direct"].includes(name))
    throw wrong(`the name ${name} is taken`);
  const { args } = json;
  if (!Array.isArray(args) || !args.every((arg) => typeof arg === "string"))
    throw wrong("args must be a list of texts");
  const env = Object.entries(record("env")).map(([key, value]) => {
    if (typeof value !== "string") throw wrong(`env.${key} must be a text`);
    return [key, checked(value, `env.${key}`, START_KEYS)] as const;
  });
  const files = Object.entries(record("files")).map(([key, value]) => {
    if (key !== basename(key) || key === "..") throw wrong(`files: ${key} must be a plain file name`);
    // Only known placeholders are filled in here: a configuration has braces of its own.
    return [key, typeof value === "string" ? value : JSON.stringify(value, undefined, 2)] as const;
  });
  return {
    name,
    what: string("what"),
    command: checked(string("command"), "command", START_KEYS),
    args: args.map((arg, index) => checked(arg, `args[${index}]`, START_KEYS)),
    env: Object.fromEntries(env),
    files: Object.fromEntries(files),
    ready: path("ready"),
    blob: path("blob"),
    manifest: path("manifest"),
  };
}

export async function readPeer(file: string): Promise<PeerFile> {
  return parsePeer(await readFile(file, "utf8"), file);
}

/** Replaces `{name}` where there is a value for it, and leaves every other brace alone. */
export function fillIn(text: string, values: Readonly<Record<string, string | number>>): string {
  return text.replace(/\{(\w+)\}/g, (whole, name: string) => `${values[name] ?? whole}`);
}

export interface PeerStart {
  /** A directory of its own is made in there. */
  readonly dir: string;
  readonly label: string;
  readonly upstreamUrl: string;
  readonly core?: number | string | undefined;
}

/** @throws MissingProgram, or why it does not start. */
export async function startPeer(peer: PeerFile, { dir, label, upstreamUrl, core }: PeerStart): Promise<Served> {
  const port = await freePort();
  const home = join(dir, label);
  await mkdir(home, { recursive: true });
  const values = { port, dir: home, upstream: upstreamUrl, upstreamHost: new URL(upstreamUrl).host };
  const command = needProgram(fillIn(peer.command, values));
  for (const [name, text] of Object.entries(peer.files)) await writeFile(join(home, name), fillIn(text, values));
  const args = peer.args.map((arg) => fillIn(arg, values));
  const env = Object.fromEntries(Object.entries(peer.env).map(([key, value]) => [key, fillIn(value, values)]));
  const daemon = new Daemon({ name: label, dir, command, args, core, env, cwd: home });
  try {
    await daemon.until(async () => (await get(`http://127.0.0.1:${port}${peer.ready}`)).status === 200);
  } catch (error) {
    await daemon.stop();
    throw error;
  }
  return {
    name: peer.name,
    daemon,
    port,
    pullsThrough: true,
    blobPath: ({ digest }: LibraryBlob) => fillIn(peer.blob, pathValues(digest)),
    manifestPath: ({ digest }: LibraryManifest) => fillIn(peer.manifest, pathValues(digest)),
    settled: () => daemon.quiet(),
  };
}

function pathValues(digest: string) {
  return { repository: REPOSITORY, tag: TAG, digest, hex: digest.slice(digest.indexOf(":") + 1) };
}

function placeholdersIn(text: string): string[] {
  return [...text.matchAll(/\{(\w+)\}/g)].flatMap(([, name]) => name ?? []);
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
