/**
 * Which images are meant: references as Docker writes them, routed as pulls are, and tags by pattern.
 */
import { Failure } from "../base/failure.ts";
import type { Place } from "../meta/repositories.ts";
import { makeRoute, type Route, type Source } from "../mirror/route.ts";
import type { Reference } from "../oci/reference.ts";
import { type RoutingTable, routeTo } from "../upstream/registries/routing.ts";
import { excerpt, parseImageName, parsePlace } from "./names.ts";

/** Not routed yet. */
export interface WarmName {
  readonly written: string;
  readonly place: Place;
  readonly reference: Reference;
}

export interface WarmTarget {
  readonly written: string;
  readonly route: Route;
  readonly reference: Reference;
}

/** `alpine`, `alpine:3.20`, `ghcr.io/owner/app@sha256:…`. @throws Failure `invalid`. */
export function parseWarmName(written: string): WarmName {
  const name = parseImageName(written);
  if (written.includes("@") && name.reference.type !== "digest") {
    throw new Failure("invalid", `${excerpt(written)}: expected a digest after the @`);
  }
  return { written, ...name };
}

/** Where tags are meant by a pattern, none is named. @throws Failure `invalid`. */
export function parseUntagged(written: string): WarmName {
  const afterSlash = written.slice(written.lastIndexOf("/") + 1);
  if (/[:@]/.test(afterSlash)) {
    throw new Failure("invalid", `${excerpt(written)}: with a pattern for tags, images are named without one`);
  }
  return { ...parseWarmName(written), place: parsePlace(written) };
}

/** @throws Failure `unknown` (a registry that is not configured), `denied`. */
export function routeWarmName(routing: RoutingTable<Source>, { place }: WarmName): Route {
  const { upstream: source, repository } = routeTo(routing, { ns: place.upstream }, place.repository);
  return makeRoute(source, repository);
}

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
