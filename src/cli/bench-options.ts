/**
 * What `wharfinger bench` can be told, and what it makes of it. The flags are checked here, so that a run begins with
 * good values or not at all.
 */
import type { Argv } from "yargs";
import { messageOf } from "../base/failure.ts";
import { parseDuration, parseSize } from "../config/units.ts";
import type { ClientKind, LoadOptions, Scenario } from "../load/options.ts";
import { type Given, invalid, type Outputs, readCertificate, readOutputs, word } from "./flags.ts";
import type { World } from "./world.ts";

export interface BenchRequest extends Outputs {
  readonly options: LoadOptions;
  /** Name of a file. */
  readonly html: string | undefined;
  readonly quiet: boolean;
}

const SCENARIOS = ["herd", "warm", "mixed", "manifests", "ranges", "slow"] as const satisfies readonly Scenario[];
const CLIENTS = ["dockerd", "containerd", "podman"] as const satisfies readonly ClientKind[];
const METHODS = ["GET", "HEAD"] as const;

const DEFAULT_REFERENCE = "docker.io/library/alpine";
const DEFAULT_PASSWORD_ENV = "WHARFINGER_BENCH_PASSWORD";
const DEFAULT_CLIENTS = 10;
const DEFAULT_SLOW_CLIENTS = 1000;

export const BENCH_COMMAND = "bench <url> [refs..]";
export const BENCH_SUMMARY = "Measure a mirror or registry, whichever it is, as its clients would load it";

export function benchFlags(command: Argv): Argv {
  const text = (describe: string, more: object = {}) =>
    ({ type: "string", requiresArg: true, describe, ...more }) as const;
  return command
    .usage(`$0 bench URL [REF..]\n\n${BENCH_SUMMARY}.\n\n${SCENARIO_HELP}`)
    .positional("url", { type: "string", describe: "The server: http://127.0.0.1:5000, https://mirror.example/path" })
    .positional("refs", {
      type: "string",
      array: true,
      describe: `Images as Docker writes them: alpine:3.20, ghcr.io/owner/app@sha256:… (default ${DEFAULT_REFERENCE})`,
    })
    .options({
      scenario: text(`What the clients do (${SCENARIOS.join(", ")})`, { default: "warm" }),
      as: text(`Which client they pull like (${CLIENTS.join(", ")})`, { default: "containerd" }),
      clients: text("How many", { defaultDescription: `${DEFAULT_CLIENTS}; slow: ${DEFAULT_SLOW_CLIENTS}` }),
      duration: text("How long; herd ends when all have pulled", { defaultDescription: "10s" }),
      concurrency: text("Layers (ranges: pieces) that one client fetches at once", {
        defaultDescription: "as the client: 3, 3, 6; ranges: 4",
      }),
      platform: text("Which image of an index", { default: "linux/amd64" }),
      prefix: text("podman: what stands before the repository", { defaultDescription: "the registry's name" }),
      method: text("manifests: GET or HEAD", { defaultDescription: "as the client resolves a tag" }),
      "chunk-size": text("ranges: size of a piece", { default: "4MiB" }),
      rate: text("slow: what one reader takes in a second", { default: "16KiB" }),
      zipf: text("mixed: exponent of popularity; the first REF is the most popular one", { default: "1" }),
      seed: text("mixed: another seed is another order", { default: "1" }),
      verify: { type: "boolean", default: true, describe: "Hash every blob; --no-verify for throughput alone" },
      timeout: text("How long a request may go without a byte", { default: "30s" }),
      username: text("User name, for Basic or the token server"),
      "password-env": text("Environment variable that holds the password", { default: DEFAULT_PASSWORD_ENV }),
      "token-realm": text("A token server of another site that may have the password"),
      ca: text("Certificate (PEM file) to trust besides the usual ones"),
      insecure: { type: "boolean", default: false, describe: "Trust any certificate" },
      json: text("Write the report as JSON into this file; - is standard output"),
      html: text("Write the report as one HTML page into this file"),
      output: text("Write the text report into this file instead of standard output", { alias: "o" }),
      quiet: { type: "boolean", default: false, describe: "Do not show how it goes" },
    })
    .example("$0 bench http://127.0.0.1:5000 alpine", "Ten clients pull one image again and again for 10 s")
    .example("$0 bench http://m:5000 --scenario herd --clients 100 ghcr.io/owner/app:1", "A fleet starts at once")
    .example("$0 bench https://m --as podman --html run.html quay.io/org/a quay.io/org/b", "A page with charts")
    .example("$0 bench http://m:5000 --scenario slow --clients 2000 --rate 8KiB alpine", "Who reads slowly")
    .epilogue(
      "Exit codes: 0 done, 1 an error or a wrong digest occurred or nothing could be pulled, 2 bad usage, " +
        "3 an image was not found, 4 refused (401, 403).",
    );
}

const SCENARIO_HELP = [
  "herd       every client pulls the image once, all at the same time",
  "warm       the clients pull again and again what the server has already",
  "mixed      the clients pull from a list of images, some much more often than others (Zipf)",
  "manifests  the clients ask for manifests by tag, and nothing else",
  "ranges     the clients fetch every layer in pieces, several at once",
  "slow       the clients read very slowly, beside one ordinary one",
].join("\n");

/** @throws Failure `invalid` */
export function readBench(given: Given, world: Pick<World, "env" | "version">): BenchRequest {
  const scenario = oneOf("scenario", SCENARIOS, given);
  const method = given["method"] === undefined ? undefined : oneOf("method", METHODS, given);
  const duration = given["duration"];
  const references = Array.isArray(given["refs"]) ? given["refs"].map(String) : [];
  const options: LoadOptions = {
    url: readUrl(given["url"]),
    references: references.length === 0 ? [DEFAULT_REFERENCE] : references,
    scenario,
    as: oneOf("as", CLIENTS, given),
    clients: wholeNumber("clients", given, 100_000) ?? (scenario === "slow" ? DEFAULT_SLOW_CLIENTS : DEFAULT_CLIENTS),
    durationMs:
      duration === undefined ? (scenario === "herd" ? undefined : 10_000) : positive("duration", given, parseDuration),
    concurrency: wholeNumber("concurrency", given, 1000),
    platform: readPlatform(given),
    prefix: given["prefix"] === "" ? "" : word("prefix", given),
    chunkBytes: positive("chunk-size", given, parseSize),
    bytesPerSecond: positive("rate", given, parseSize),
    zipfExponent: readExponent(given),
    seed: wholeNumber("seed", given, 2 ** 32 - 1) ?? 1,
    manifestMethod: method,
    verify: given["verify"] !== false,
    login: readLogin(given, world.env),
    tokenRealm: word("token-realm", given) ?? null,
    tls: { ca: readCertificate(word("ca", given)), insecure: given["insecure"] === true },
    timeoutMs: positive("timeout", given, parseDuration),
    version: world.version,
  };
  return { options, ...readOutputs(given), html: word("html", given), quiet: given["quiet"] === true };
}

function readUrl(value: unknown): URL {
  const url = typeof value === "string" ? URL.parse(value) : null;
  if (url === null || !/^https?:$/.test(url.protocol) || url.host === "" || url.search !== "" || url.hash !== "") {
    throw invalid("URL", "expected http://host:port or https://host, such as http://127.0.0.1:5000");
  }
  if (url.username !== "" || url.password !== "") throw invalid("URL", "use --username and --password-env for a login");
  return url;
}

function readLogin(given: Given, env: World["env"]): LoadOptions["login"] {
  const username = word("username", given);
  if (username === undefined) return undefined;
  const variable = word("password-env", given) ?? DEFAULT_PASSWORD_ENV;
  const password = env[variable];
  if (password === undefined || password === "") {
    throw invalid("--username", `put the password into the environment variable ${variable}`);
  }
  return { username, password };
}

function readPlatform(given: Given): string {
  const platform = word("platform", given) ?? "";
  if (/^[a-z0-9]+\/[a-z0-9]+(?:\/[a-z0-9]+)?$/.test(platform)) return platform;
  throw invalid("--platform", "expected os/architecture, such as linux/amd64 or linux/arm/v7");
}

function readExponent(given: Given): number {
  const text = word("zipf", given) ?? "";
  const exponent = /^\d{1,2}(?:\.\d{1,6})?$/.test(text) ? Number(text) : Number.NaN;
  if (exponent <= 10) return exponent;
  throw invalid("--zipf", "expected a number from 0 (all alike) to 10, such as 1");
}

function oneOf<T extends string>(flag: string, choices: readonly T[], given: Given): T {
  const value = word(flag, given);
  const found = choices.find((choice) => choice === value);
  if (found !== undefined) return found;
  throw invalid(`--${flag}`, `expected one of ${choices.join(", ")}`);
}

function wholeNumber(flag: string, given: Given, most: number): number | undefined {
  const text = word(flag, given);
  if (text === undefined) return undefined;
  const number = /^\d{1,10}$/.test(text) ? Number(text) : 0;
  if (number >= 1 && number <= most) return number;
  throw invalid(`--${flag}`, `expected a whole number from 1 to ${most}`);
}

function positive(flag: string, given: Given, parse: (text: string) => number): number {
  let value: number;
  try {
    value = parse(word(flag, given) ?? "");
  } catch (error) {
    throw invalid(`--${flag}`, messageOf(error));
  }
  if (value > 0) return value;
  throw invalid(`--${flag}`, "expected more than nothing");
}
