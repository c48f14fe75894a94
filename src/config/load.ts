/**
 * The configuration of one start: file, environment and flags, put together and checked.
 *
 * The outcome is a `Config` or `ConfigFaults` with every fault at once; nothing else is thrown, and nothing that is not
 * understood is passed over. Precedence: flag > environment > file > default.
 */
import { closeSync, fstatSync, openSync, readSync } from "node:fs";
import { resolve } from "node:path";
import type * as z from "zod";
import { errnoOf } from "../base/failure.ts";
import { type ConfigDocument, readDocument } from "./document.ts";
import { ConfigFaults, type Fault, MAX_FAULTS, pathText } from "./faults.ts";
import { ENV_PREFIX, knownKeysAt, type Leaf, listLeaves } from "./leaves.ts";
import { directoryOf, resolveNamed } from "./named.ts";
import { type Config, schema } from "./schema.ts";
import { suggestion } from "./suggest.ts";
import { asRecord } from "./upstream-schema.ts";

type Environment = Readonly<Record<string, string | undefined>>;

export interface ConfigSources {
  readonly file?: string | undefined;
  /** Default none: a program that embeds the mirror says so if its environment counts. */
  readonly env?: Environment;
  /** By kebab-case flag, without dashes; undefined = not given. */
  readonly flags?: Readonly<Record<string, unknown>>;
  /** Where relative paths start that no file gives; the process's own by default. */
  readonly cwd?: string;
}

/** What the environment or a flag put in place of the file's value. */
interface Override {
  readonly leaf: Leaf;
  readonly source: "env" | "flag";
  /** What the user typed: the variable's name, the flag with its dashes. */
  readonly name: string;
  readonly value: unknown;
}

const MAX_FILE_BYTES = 1024 * 1024;

/**
 * What Kubernetes puts into every container of a namespace that has a Service named "wharfinger"; no setting of ours.
 */
const SERVICE_LINK =
  /^WHARFINGER_(?:.*_)?(?:SERVICE_HOST|SERVICE_PORT(?:_.*)?|PORT(?:_\d+_(?:TCP|UDP|SCTP)(?:_.*)?)?)$/;

/** @throws ConfigFaults */
export function loadConfig(sources: ConfigSources): Config {
  const cwd = sources.cwd ?? process.cwd();
  const { file } = sources;
  const faults: Fault[] = [];
  const leaves = listLeaves();

  const document = file === undefined ? undefined : readFile(file, cwd, faults);
  for (const fault of document?.faults ?? []) faults.push({ ...fault, source: "file", ...named(file) });
  const overrides = [
    ...readEnv(leaves, withoutSecrets(sources.env ?? {}, document?.value), faults),
    ...readFlags(leaves, sources.flags ?? {}, faults),
  ];

  const root = document?.value ?? {};
  const isReadable = typeof root === "object" && !Array.isArray(root);
  if (!isReadable)
    faults.push({ path: "", line: 1, source: "file", ...named(file), message: "expected keys and values" });

  let untold = 0;
  const report = (path: readonly PropertyKey[], message: string | (() => string)) => {
    // Words and places are looked for where they will be read: a file may be nothing but faults.
    if (faults.length >= MAX_FAULTS) untold += 1;
    else faults.push(placeFault(path, typeof message === "string" ? message : message(), overrides, document, file));
  };
  const base = directoryOf(file, cwd);
  const isOverridden = (path: readonly PropertyKey[]) => overrides.some(({ leaf }) => isPrefix(leaf.path, path));
  const merged = overrides.reduce<unknown>(
    (value, { leaf, value: text }) => putIn(value, leaf.path, text),
    isReadable ? root : {},
  );
  const isOffline = asRecord(merged).offline === true;
  const value = resolveNamed(schema, merged, {
    env: sources.env ?? {},
    baseOf: (path) => (isOverridden(path) ? cwd : base),
    report: (path, message) => {
      // Who contacts nobody needs no secrets.
      if (!(isOffline && path[0] === "upstreams" && path[2] === "credentials")) report(path, message);
    },
  });

  const parsed = schema.safeParse(value);
  if (!parsed.success) for (const issue of parsed.error.issues) reportIssue(issue, report);
  if (!parsed.success || faults.length > 0) throw new ConfigFaults(inOrder(faults), untold);
  const config = parsed.data;
  // Absolute already, but for the default.
  return { ...config, cache: { ...config.cache, dir: resolve(base, config.cache.dir) } };
}

function readFile(file: string, cwd: string, faults: Fault[]): ConfigDocument | undefined {
  const refuse = (message: string) => {
    faults.push({ path: "", source: "file", file, message });
    return undefined;
  };
  let bytes: Buffer;
  try {
    const descriptor = openSync(resolve(cwd, file), "r");
    try {
      if (fstatSync(descriptor).isDirectory()) return refuse("names a directory, not a file");
      // One byte more than allowed tells whether there is more. A pipe gives what it has, bit by bit.
      bytes = Buffer.alloc(MAX_FILE_BYTES + 1);
      let length = 0;
      for (let read = 1; read > 0 && length < bytes.length; length += read) {
        read = readSync(descriptor, bytes, length, bytes.length - length, null);
      }
      bytes = bytes.subarray(0, length);
    } finally {
      closeSync(descriptor);
    }
  } catch (error) {
    const code = errnoOf(error);
    return refuse(code === "ENOENT" ? "no such file" : `cannot be read (${code ?? "not a file name"})`);
  }
  if (bytes.length > MAX_FILE_BYTES) return refuse("larger than 1 MiB, which no configuration is");
  try {
    return readDocument(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch {
    return refuse("is not UTF-8 text");
  }
}

/**
 * The environment without what the document names as a secret's variable: such a name may begin like ours and is no
 * setting. Looks at the document as it is, whatever its faults.
 */
function withoutSecrets(env: Environment, document: unknown): Environment {
  const credentials = Object.values(asRecord(asRecord(document).upstreams)).flatMap((settings) => {
    const given: unknown = asRecord(settings).credentials;
    return Array.isArray(given) ? given : [];
  });
  const names = credentials.flatMap((one) => {
    const { passwordEnv, tokenEnv, azure } = asRecord(one);
    return [passwordEnv, tokenEnv, asRecord(azure).clientSecretEnv];
  });
  return Object.fromEntries(Object.entries(env).filter(([name]) => !names.includes(name)));
}

function readEnv(leaves: readonly Leaf[], env: Environment, faults: Fault[]): Override[] {
  const overrides: Override[] = [];
  for (const name of Object.keys(env).toSorted()) {
    const value = env[name] ?? "";
    // An empty variable is how Compose files and shells write "not set".
    if (!name.startsWith(ENV_PREFIX) || value === "" || SERVICE_LINK.test(name)) continue;
    const leaf = leaves.find((candidate) => candidate.env === name);
    if (leaf !== undefined) {
      overrides.push({ leaf, source: "env", name, value: fromText(leaf, value) });
    } else {
      const hint = suggestion(
        name.slice(ENV_PREFIX.length),
        leaves.map((known) => known.env.slice(ENV_PREFIX.length)),
      );
      const message = `unknown variable${hint.replace('"', `"${ENV_PREFIX}`)}`;
      faults.push({ path: name, source: "env", message });
    }
  }
  return overrides;
}

function readFlags(leaves: readonly Leaf[], flags: Readonly<Record<string, unknown>>, faults: Fault[]): Override[] {
  const overrides: Override[] = [];
  for (const [flag, value] of Object.entries(flags)) {
    if (value === undefined) continue;
    const name = `--${flag}`;
    const leaf = leaves.find((candidate) => candidate.flag === flag);
    if (leaf === undefined) {
      const message = `unknown flag${suggestion(
        flag,
        leaves.map((known) => known.flag),
      )}`;
      faults.push({ path: name, source: "flag", message });
    } else if (Array.isArray(value)) {
      faults.push({ path: name, source: "flag", message: "given more than once" });
    } else {
      overrides.push({ leaf, source: "flag", name, value: typeof value === "string" ? fromText(leaf, value) : value });
    }
  }
  return overrides;
}

function fromText(leaf: Leaf, text: string): unknown {
  if (!leaf.boolean) return text;
  if (text === "true" || text === "1") return true;
  return text === "false" || text === "0" ? false : text;
}

/** Sets a value without changing the original; what stands where a section belongs stays, and is a fault already. */
function putIn(container: unknown, path: readonly string[], value: unknown): unknown {
  const [key, ...rest] = path;
  if (key === undefined) return value;
  if (typeof (container ?? {}) !== "object" || Array.isArray(container)) return container;
  const record = asRecord(container);
  return { ...record, [key]: putIn(record[key], rest, value) };
}

function reportIssue(
  issue: z.core.$ZodIssue,
  report: (path: readonly PropertyKey[], message: string | (() => string)) => void,
): void {
  if (issue.code !== "unrecognized_keys") {
    report(issue.path, issue.message);
    return;
  }
  const known = knownKeysAt(issue.path);
  for (const key of issue.keys) {
    // Told with its line already.
    if (key === "__proto__") continue;
    report([...issue.path, key], () => `unknown key${suggestion(key, known) || `; known here: ${known.join(", ")}`}`);
  }
}

/** Names the source that the value at a path came from. */
function placeFault(
  path: readonly PropertyKey[],
  message: string,
  overrides: readonly Override[],
  document: ConfigDocument | undefined,
  file: string | undefined,
): Fault {
  const override = overrides.findLast(({ leaf }) => isPrefix(leaf.path, path));
  if (override !== undefined) return { path: override.name, source: override.source, message };
  if (file !== undefined) {
    const line = document?.findLine(path);
    return { path: pathText(path), ...(line === undefined ? {} : { line }), source: "file", file, message };
  }
  // A default that does not go with what was given.
  return { path: pathText(path), source: overrides.at(-1)?.source ?? "env", message };
}

function isPrefix(prefix: readonly string[], path: readonly PropertyKey[]): boolean {
  return prefix.length <= path.length && prefix.every((step, at) => step === path[at]);
}

function named(file: string | undefined): { file?: string } {
  return file === undefined ? {} : { file };
}

/** As a reader of the file meets them; what has no line comes first. */
function inOrder(faults: readonly Fault[]): Fault[] {
  return faults.toSorted((left, right) => (left.line ?? 0) - (right.line ?? 0));
}
