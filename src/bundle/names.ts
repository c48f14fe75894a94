/**
 * References in their full form, as they stand in a bundle: `docker.io/library/alpine:3.20`, `ghcr.io/owner/app@sha256:…`.
 *
 * Read as Docker reads them, whatever the mirror's default upstream is: a bundle means the same on both sides.
 */
import { Failure, messageOf } from "../base/failure.ts";
import { DOCKER_HUB, parseRegistryName } from "../config/registry-name.ts";
import { type Place, placeKey } from "../meta/repositories.ts";
import type { Digest } from "../oci/digest.ts";
import { parseReference, parseRepository, parseTag, type Reference, referenceText } from "../oci/reference.ts";

export interface ImageName {
  readonly place: Place;
  readonly reference: Reference;
}

const MAX_NAME = 600;

/**
 * `alpine`, `alpine:3.20`, `ghcr.io/owner/app@sha256:…`.
 * @param readPlace how the part before the tag is read.
 * @throws Failure `invalid`
 */
export function parseImageName(text: string, readPlace: (text: string) => Place = parsePlace): ImageName {
  try {
    if (text.length > MAX_NAME) throw new Failure("invalid", "it is too long");
    const [before = "", digest, ...more] = text.split("@");
    if (more.length > 0) throw new Failure("invalid", "there is more than one @");
    const colon = before.lastIndexOf(":");
    const tagged = colon > before.lastIndexOf("/");
    const tag = tagged ? before.slice(colon + 1) : undefined;
    if (tag !== undefined) parseTag(tag);
    return {
      place: readPlace(tagged ? before.slice(0, colon) : before),
      // With both, the digest rules.
      reference: parseReference(digest ?? tag ?? "latest"),
    };
  } catch (error) {
    throw new Failure("invalid", `${excerpt(text)}: ${messageOf(error)}`);
  }
}

/** A repository with its registry: `alpine` is `docker.io/library/alpine`. @throws Failure `invalid` */
export function parsePlace(text: string): Place {
  const slash = text.indexOf("/");
  const first = slash < 0 ? "" : text.slice(0, slash);
  const named = /[.:]/.test(first) || first === "localhost";
  const upstream = named ? parseRegistryName(first) : DOCKER_HUB;
  const rest = named ? text.slice(slash + 1) : text;
  const official = upstream === DOCKER_HUB && !rest.includes("/");
  return { upstream, repository: parseRepository(official ? `library/${rest}` : rest) };
}

/** As `placeKey` writes it: the registry is always there. @throws Failure `invalid` */
export function parsePlaceKey(text: string): Place {
  const slash = text.indexOf("/");
  return {
    upstream: parseRegistryName(text.slice(0, Math.max(0, slash))),
    repository: parseRepository(text.slice(slash + 1)),
  };
}

/** Undefined for what names no registry or no tag: a bare tag, say. */
export function findFullName(text: string | undefined): ImageName | undefined {
  if (text === undefined || !/[:/@]/.test(text)) return undefined;
  try {
    return parseImageName(text);
  } catch {
    return undefined;
  }
}

export function nameText({ place, reference }: ImageName): string {
  return `${placeKey(place)}${reference.type === "tag" ? ":" : "@"}${referenceText(reference)}`;
}

export function digestName(place: Place, digest: Digest): ImageName {
  return { place, reference: { type: "digest", digest } };
}

/** What came from outside, short and printable. */
export function excerpt(text: string): string {
  return text.slice(0, 200).replace(/[^\x20-\x7e]/g, "?");
}
