/**
 * The mirror as a client's configuration may name it: is this it, is the scheme right, and does what the client will ask
 * for there match one of the forms by which a mirror learns the registry? Pure.
 */
import { canonicalRegistryName, DOCKER_HUB } from "../../config/registry-name.ts";

export interface MirrorPlace {
  readonly url: URL;
  /** `host:port` as configurations write it. */
  readonly host: string;
  readonly secure: boolean;
  readonly loopback: boolean;
  /** Has it this registry? Undefined where nobody knows. */
  has(registry: string): boolean | undefined;
}

export function placeOfMirror(url: URL, has: MirrorPlace["has"] = () => undefined): MirrorPlace {
  return { url, host: url.host, secure: url.protocol === "https:", loopback: isLoopback(url.hostname), has };
}

/** A URL or `host[:port][/path]` that names the mirror; undefined where it names something else. */
export function findNamed(
  mirror: MirrorPlace,
  written: string,
): { readonly url: URL; readonly bare: boolean } | undefined {
  const bare = !/^https?:\/\//i.test(written);
  const url = URL.parse(bare ? `${mirror.url.protocol}//${written}` : written);
  if (url === null) return undefined;
  // Without a port the other scheme has another port, and means the mirror as well, wrongly.
  if (url.port !== mirror.url.port && portOf(url) !== portOf(mirror.url)) return undefined;
  const same = url.hostname === mirror.url.hostname || (isLoopback(url.hostname) && mirror.loopback);
  return same ? { url, bare } : undefined;
}

/** Does the text speak of the mirror at all? */
export function mentions(mirror: MirrorPlace, text: string): boolean {
  return text.toLowerCase().includes(mirror.host.toLowerCase());
}

/** Undefined where the scheme is the mirror's. */
export function schemeFault(mirror: MirrorPlace, url: URL): string | undefined {
  if (url.protocol === mirror.url.protocol) return undefined;
  return `says ${url.protocol}//, but the mirror is at ${mirror.url.protocol}//`;
}

/** Undefined where the mirror has the registry, or nobody knows. */
export function registryFault(mirror: MirrorPlace, registry: string | undefined): string | undefined {
  if (registry === undefined || mirror.has(registry) !== false) return undefined;
  return `names the mirror for ${registry}, which the mirror does not have: add it there under upstreams, or take it out here`;
}

export interface Asking {
  /** Below which the client puts `/<repository>/manifests/…`. */
  readonly path: string;
  /** The registry that it mirrors there; undefined is any. */
  readonly registry: string | undefined;
  /** Does the client add `?ns=<registry>`? */
  readonly sendsNs: boolean;
}

/** Undefined where the mirror understands it. */
export function pathFault({ path, registry, sendsNs }: Asking): string | undefined {
  const parts = path.split("/").filter(Boolean);
  const at = parts.indexOf("v2");
  const named = at === 0 ? parts.slice(1) : parts.slice(0, at < 0 ? undefined : at);
  const shaped = at >= 0 && parts.length <= 2;
  if (!shaped) return `asks below ${path === "" ? "/" : path}, where no form of request is understood`;
  const [name] = named;
  if (name === undefined) {
    if (sendsNs || registry === undefined || registry === DOCKER_HUB) return undefined;
    return `asks for ${registry}'s images without naming ${registry}`;
  }
  if (registry === undefined || canonicalRegistryName(decodeURIComponent(name)) === canonicalRegistryName(registry)) {
    return undefined;
  }
  return `mirrors ${registry}, but asks for ${name}`;
}

export function isLoopback(hostname: string): boolean {
  return /^(?:localhost|127\.\d+\.\d+\.\d+|\[?::1\]?)$/i.test(hostname);
}

function portOf(url: URL): string {
  if (url.port !== "") return url.port;
  return url.protocol === "https:" ? "443" : "80";
}
