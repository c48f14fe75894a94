/**
 * From a reference as Docker writes it to the paths that a client asks a mirror for: pure.
 *
 * Clients name the registry that is mirrored in different ways: dockerd not at all (its mirrors are of Docker Hub),
 * containerd by `?ns=`, podman in the path. A reference without a registry, or with that of the URL itself, is
 * asked for plainly by all of them.
 */
import { Failure, messageOf } from "../base/failure.ts";
import { canonicalRegistryName, DOCKER_HUB, parseRegistryName } from "../config/registry-name.ts";
import { parseReference, parseRepository, type Reference, type Repository, referenceText } from "../oci/reference.ts";
import type { ClientKind } from "./options.ts";

export interface ImageName {
  readonly written: string;
  /** Undefined where the reference names none. */
  readonly registry: string | undefined;
  readonly repository: Repository;
  readonly reference: Reference;
}

/** An image, as one client asks one server for it. */
export interface Place {
  readonly written: string;
  readonly origin: string;
  /** Before `/v2/`: "" or `/some/path`. */
  readonly root: string;
  /** As it stands in the path. */
  readonly repository: Repository;
  readonly reference: Reference;
  /** "" or `?ns=…`. */
  readonly query: string;
}

/** `alpine`, `alpine:3.20`, `ghcr.io/owner/app@sha256:…`. @throws Failure `invalid` */
export function parseImageName(text: string): ImageName {
  try {
    const [before = "", digest] = text.split("@", 2);
    const colon = before.lastIndexOf(":");
    const tagged = colon > before.lastIndexOf("/");
    const name = tagged ? before.slice(0, colon) : before;
    // With both a tag and a digest, the digest rules.
    const reference = parseReference(digest ?? (tagged ? before.slice(colon + 1) : "latest"));
    const slash = name.indexOf("/");
    const first = slash < 0 ? "" : name.slice(0, slash);
    if (!/[.:]/.test(first) && first !== "localhost") {
      return { written: text, registry: undefined, repository: parseRepository(name), reference };
    }
    const registry = parseRegistryName(first);
    const rest = name.slice(slash + 1);
    const repository = parseRepository(registry === DOCKER_HUB && !rest.includes("/") ? `library/${rest}` : rest);
    return { written: text, registry, repository, reference };
  } catch (error) {
    throw new Failure("invalid", `${text.slice(0, 300)}: ${messageOf(error)}`);
  }
}

/** @throws Failure `invalid` where such a client asks such a server for no such image. */
export function placeOf(image: ImageName, url: URL, as: ClientKind, prefix: string | undefined): Place {
  const { written, repository, reference } = image;
  const path = url.pathname.replace(/\/+$/, "");
  const registry =
    image.registry === undefined || image.registry === canonicalRegistryName(url.host) ? undefined : image.registry;
  const plain = { written, origin: url.origin, root: path.replace(/\/v2$/, ""), repository, reference, query: "" };
  switch (as) {
    case "dockerd":
      if (registry === undefined || registry === DOCKER_HUB) return plain;
      throw new Failure(
        "invalid",
        `${written}: dockerd asks its mirrors for Docker Hub's images only; use --as containerd or --as podman`,
      );
    case "containerd":
      return registry === undefined ? plain : { ...plain, query: `?ns=${encodeURIComponent(registry)}` };
    case "podman": {
      // The mirror's location is host and path, and its path becomes the beginning of the repository's name.
      const given = prefix ?? (path === "" ? registry : path);
      const before = (given ?? "").replace(/^\/+|\/+$/g, "");
      const name = before === "" ? repository : `${before}/${repository}`;
      return { ...plain, root: "", repository: name.includes(":") ? portedName(name) : parseRepository(name) };
    }
  }
}

/** Where a name of one component, without a registry, is one of Docker Hub's own, as `docker pull` has it. */
export function findOfficial(image: ImageName): ImageName | undefined {
  if (image.registry !== undefined || image.repository.includes("/")) return undefined;
  return { ...image, repository: parseRepository(`library/${image.repository}`) };
}

export function pingUrl(place: Place): URL {
  return new URL(`${place.origin}${place.root}/v2/`);
}

export function manifestUrl(place: Place, reference: Reference | string = place.reference): URL {
  const text = typeof reference === "string" ? reference : referenceText(reference);
  return new URL(`${place.origin}${place.root}/v2/${place.repository}/manifests/${text}${place.query}`);
}

export function blobUrl(place: Place, digest: string): URL {
  return new URL(`${place.origin}${place.root}/v2/${place.repository}/blobs/${digest}${place.query}`);
}

/** A registry with a port, in front of a repository: the one name with a colon that is asked for in a path. */
function portedName(name: string): Repository {
  const slash = name.indexOf("/");
  parseRegistryName(name.slice(0, slash));
  parseRepository(name.slice(slash + 1));
  return name as Repository;
}
