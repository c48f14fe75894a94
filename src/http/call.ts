/**
 * From a request target to the registry operation it asks for. Pure.
 *
 * The path is percent-decoded once and read from the right, because a repository's name may itself contain `manifests`
 * or `blobs`. The name is not validated here: what its first component means depends on the configuration.
 */
import { Failure } from "../base/failure.ts";
import type { Paging } from "../mirror/listings.ts";
import { type Digest, parseDigest } from "../oci/digest.ts";
import { parseReference, type Reference } from "../oci/reference.ts";

export type Call =
  | { readonly kind: "ping" }
  | { readonly kind: "catalog"; readonly paging: Paging }
  | { readonly kind: "manifest"; readonly name: string; readonly reference: Reference }
  | { readonly kind: "blob"; readonly name: string; readonly digest: Digest }
  | { readonly kind: "tags"; readonly name: string; readonly paging: Paging }
  | {
      readonly kind: "referrers";
      readonly name: string;
      readonly digest: Digest;
      readonly artifactType: string | undefined;
      readonly paging: Paging;
    };

export interface ParsedCall {
  readonly call: Call;
  /** `ns`, as containerd and BuildKit send it. */
  readonly ns: string | undefined;
  /** The registry in `/<registry>/v2/…`. */
  readonly prefix: string | undefined;
}

const MAX_TARGET = 4096;
/** A server must take it although only proxies are sent it (RFC 9112 §3.2.2). */
const ABSOLUTE_FORM = /^https?:\/\/[^/?#]*/i;
const NO_PAGING: Paging = { n: undefined, last: undefined, opaque: "" };

/**
 * @param target the request target: path and query, or a whole URL.
 * @throws Failure `invalid` (malformed), `unknown` (no such endpoint), `unsupported` (an endpoint for pushing).
 */
export function parseCall(target: string): ParsedCall {
  if (target.length > MAX_TARGET)
    throw new Failure("invalid", "the request target is too long", { code: "NAME_INVALID" });
  const origin = target.startsWith("/") ? target : target.replace(ABSOLUTE_FORM, "");
  const mark = origin.indexOf("?");
  const path = decodePath(mark < 0 ? origin : origin.slice(0, mark));
  const query = mark < 0 ? undefined : new URLSearchParams(origin.slice(mark + 1));
  const { prefix, rest } = splitPath(path);
  return { call: parseRest(rest, query), ns: query?.get("ns") || undefined, prefix };
}

function decodePath(raw: string): string {
  if (!raw.includes("%")) return raw;
  let path: string;
  try {
    path = decodeURIComponent(raw);
  } catch (cause) {
    throw new Failure("invalid", "the path is not properly percent-encoded", { code: "NAME_INVALID", cause });
  }
  // What is still encoded after decoding once was encoded twice, to mean something else to somebody else.
  if (path.includes("%")) throw new Failure("invalid", "the path is encoded twice", { code: "NAME_INVALID" });
  return path;
}

/** `/v2/…` or `/<registry>/v2/…`; the rest comes without a leading slash. */
function splitPath(path: string): { prefix: string | undefined; rest: string } {
  if (path.startsWith("/v2/")) return { prefix: undefined, rest: path.slice(4) };
  if (path === "/v2") return { prefix: undefined, rest: "" };
  const slash = path.indexOf("/", 1);
  if (slash > 1 && path.startsWith("/v2/", slash)) return { prefix: path.slice(1, slash), rest: path.slice(slash + 4) };
  if (slash > 1 && path.slice(slash) === "/v2") return { prefix: path.slice(1, slash), rest: "" };
  throw noSuchEndpoint();
}

function parseRest(rest: string, query: URLSearchParams | undefined): Call {
  if (rest === "") return { kind: "ping" };
  if (rest === "_catalog") return { kind: "catalog", paging: parsePaging(query) };
  const { head, tail: last } = cutLast(rest);
  const { head: name, tail: kind } = cutLast(head);
  switch (kind) {
    case "manifests":
      return { kind: "manifest", name, reference: parseReference(last) };
    case "blobs":
      if (last === "uploads") throw pushOnly();
      return { kind: "blob", name, digest: parseDigest(last) };
    case "tags":
      if (last !== "list") break;
      return { kind: "tags", name, paging: parsePaging(query) };
    case "referrers": {
      const artifactType = query?.get("artifactType") || undefined;
      return { kind: "referrers", name, digest: parseDigest(last), artifactType, paging: parsePaging(query) };
    }
    case "uploads":
      if (name.endsWith("/blobs")) throw pushOnly();
  }
  throw noSuchEndpoint();
}

function cutLast(path: string): { head: string; tail: string } {
  const slash = path.lastIndexOf("/");
  return slash < 0 ? { head: "", tail: path } : { head: path.slice(0, slash), tail: path.slice(slash + 1) };
}

function parsePaging(query: URLSearchParams | undefined): Paging {
  if (query === undefined) return NO_PAGING;
  const n = query.get("n");
  if (n !== null && !/^\d{1,9}$/.test(n)) {
    throw new Failure("invalid", "n is not a number of entries", { code: "PAGINATION_NUMBER_INVALID" });
  }
  const opaque = new URLSearchParams(query);
  for (const known of ["ns", "n", "last", "artifactType"]) opaque.delete(known);
  return { n: n === null ? undefined : Number(n), last: query.get("last") ?? undefined, opaque: opaque.toString() };
}

function noSuchEndpoint(): Failure {
  return new Failure("unknown", "no such endpoint: this is a registry mirror, its API is under /v2/", {
    code: "NOT_FOUND",
  });
}

function pushOnly(): Failure {
  return new Failure("unsupported", "this is a mirror: it takes no uploads", { code: "UNSUPPORTED" });
}
