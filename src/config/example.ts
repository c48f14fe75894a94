/**
 * The example configuration, made from the schema: every key with its doc line and its default.
 *
 * Run as a program it prints `config.example.yaml`. The file loads as it is and changes nothing: it says what holds
 * without it; everything about upstreams is commented out.
 */
import { stringify } from "yaml";
import type * as z from "zod";
import { credentialKeys } from "./credential.ts";
import type { KeyDoc } from "./fields.ts";
import { docsOf, shapeOf } from "./leaves.ts";
import { schema } from "./schema.ts";
import { upstream } from "./upstream-schema.ts";

const HEAD = `# wharfinger: every key, with its default; below upstreams with an example instead: take the lines you need.
# All of it may be left out.
# Flags (--cache-max-size) and environment variables (WHARFINGER_CACHE_MAX_SIZE) go before this file.
# Sizes: 10GiB, 500MB, a plain number is bytes. Durations: 250ms, 30s, 5m, 12h, 30d.
# Relative paths start at this file's directory.
`;

const UPSTREAMS_HEAD = `#
# upstreams:
#   docker.io: {}                 # a registry that is known by name needs nothing
#   ghcr.io:
#     credentials:
#       - username: robot
#         passwordFile: /run/secrets/ghcr
#   registry.example.com:
`;

/** What is no comment: a whole credential. */
const ONE_CREDENTIAL = new Set(["username", "passwordEnv"]);
/** What may stand in an item beside others; the rest are items of their own. */
const WITH_IT = new Set(["password", "passwordFile", "repositories"]);

export function exampleConfig(): string {
  const parts = Object.entries(shapeOf(schema) ?? {})
    .filter(([key]) => key !== "upstreams")
    .map(([key, field]) => entryText(key, field, "default").join("\n"));
  const settings = Object.entries(shapeOf(upstream) ?? {}).flatMap(([key, field]) =>
    key === "credentials" ? credentialText(field) : entryText(key, field, "example"),
  );
  const commented = settings.map((line) => `#     ${line}`).join("\n");
  const upstreams = `# ${docsOf(shapeOf(schema)?.upstreams ?? schema).doc}\n${UPSTREAMS_HEAD}${commented}\n`;
  return `${HEAD}\n${parts.join("\n\n")}\n\n${upstreams}`;
}

function entryText(key: string, field: z.core.$ZodType, show: "default" | "example"): string[] {
  const docs = docsOf(field);
  const shape = shapeOf(field);
  const children = Object.entries(shape ?? {});
  const head = docs.doc === "" ? [] : [`# ${docs.doc}${choicesText(docs)}`];
  if (children.length === 0) return [...head, `${key}: ${shape === undefined ? valueText(docs, show) : "{}"}`];
  return [...head, `${key}:`, ...children.flatMap(([name, child]) => entryText(name, child, show)).map(indent)];
}

function credentialText(field: z.core.$ZodType): string[] {
  const lines = Object.entries(credentialKeys).flatMap(([key, child]) => {
    const entry = entryText(key, child, "example");
    const [doc = "", ...rest] = entry;
    if (ONE_CREDENTIAL.has(key)) return [doc, ...rest.map((line) => `${key === "username" ? "- " : "  "}${line}`)];
    if (WITH_IT.has(key)) return [doc, ...rest.map((line) => `#   ${line}`)];
    return [doc, ...rest.map((line, at) => `# ${at === 0 ? "- " : "  "}${line}`)];
  });
  return [`# ${docsOf(field).doc}`, "credentials:", ...lines.map(indent)];
}

function choicesText(docs: KeyDoc): string {
  return docs.choices === undefined ? "" : ` (${docs.choices.join(", ")})`;
}

function valueText(docs: KeyDoc, show: "default" | "example"): string {
  const value = show === "example" && docs.example !== undefined ? docs.example : docs.default;
  return stringify(value ?? null, { collectionStyle: "flow", lineWidth: 0 }).trim();
}

function indent(line: string): string {
  return `  ${line}`;
}

if (import.meta.main) process.stdout.write(exampleConfig());
