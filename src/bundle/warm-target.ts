/**
 * Which images are meant: references as Docker writes them, routed as pulls are, and tags by pattern.
 */
import { Failure, messageOf } from "../base/failure.ts";
import { parseRegistryName } from "../config/registry-name.ts";
import { makeRoute, type Route, type Source } from "../mirror/route.ts";
import { parseReference, parseRepository, parseTag, type Reference, type Repository } from "../oci/reference.ts";
import { type RoutingTable, routeTo } from "../upstream/registries/routing.ts";

/** As it was written, not routed yet. */
export interface WarmName {
  readonly written: string;
  /** Undefined where none is named. */
  readonly registry: string | undefined;
  readonly repository: Repository;
  /** Undefined where neither tag nor digest is given. */
  readonly reference: Reference | undefined;
}

export interface WarmTarget {
  readonly written: string;
  readonly route: Route;
  readonly reference: Reference;
}

export const MAX_REFERENCE = 512;

/** `alpine`, `alpine:3.20`, `ghcr.io/owner/app@sha256:…`; with a tag and a digest the digest rules. @throws Failure `invalid`. */
export function parseWarmName(written: string): WarmName {
  try {
    if (written.length > MAX_REFERENCE) throw new Failure("invalid", `longer than ${MAX_REFERENCE} characters`);
    const [before = "", digest] = written.split("@", 2);
    const colon = before.lastIndexOf(":");
    const isTagged = colon > before.lastIndexOf("/");
    const name = isTagged ? before.slice(0, colon) : before;
    const given = digest ?? (isTagged ? before.slice(colon + 1) : undefined);
    const reference = given === undefined ? undefined : parseReference(given);
    if (digest !== undefined && reference?.type !== "digest") throw new Failure("invalid", "no digest after the @");
    const slash = name.indexOf("/");
    const first = slash < 0 ? "" : name.slice(0, slash);
    if (!/[.:]/.test(first) && first !== "localhost") {
      return { written, registry: undefined, repository: parseRepository(name), reference };
    }
    const registry = parseRegistryName(first);
    return { written, registry, repository: parseRepository(name.slice(slash + 1)), reference };
  } catch (error) {
    throw new Failure("invalid", `${JSON.stringify(written.slice(0, 300))}: ${messageOf(error)}`);
  }
}

/** @throws Failure `unknown` (a registry that is not configured), `denied`, `invalid`. */
export function routeWarmName(routing: RoutingTable<Source>, { registry, repository }: WarmName): Route {
  const { upstream: source, repository: name } = routeTo(routing, { ns: registry }, repository);
  return makeRoute(source, name);
}

/** The tag that Docker means where none is given. */
export const LATEST: Reference = { type: "tag", tag: parseTag("latest") };

/** Signatures and the like, by cosign's and the specification's naming: they come with their images. */
const COMPANION = /^(?:sha256|sha512)-[0-9a-f]{64}(?:[.-]|$)/;

/** Those of a list of tags that the pattern means. */
export function tagsMatching(tags: readonly string[], pattern: string): string[] {
  return tags.filter((tag) => !COMPANION.test(tag) && matchesGlob(pattern, tag));
}

/** `*` is any text, `?` any one character. In time that is bounded by the product of the lengths. */
export function matchesGlob(pattern: string, text: string): boolean {
  let [at, from] = [0, 0];
  let star: { readonly at: number; from: number } | undefined;
  while (from < text.length) {
    if (pattern[at] === "*") {
      star = { at, from };
      at += 1;
    } else if (pattern[at] === "?" || (at < pattern.length && pattern[at] === text[from])) {
      at += 1;
      from += 1;
    } else if (star !== undefined) {
      // The last star takes one character more.
      star.from += 1;
      [at, from] = [star.at + 1, star.from];
    } else return false;
  }
  while (pattern[at] === "*") at += 1;
  return at === pattern.length;
}
