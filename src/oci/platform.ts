/**
 * Which platform each manifest of an index is for (OCI image specification, image-index.md), and which of them somebody
 * wants who names platforms, as `linux/amd64` or `linux/arm64/v8`.
 *
 * Names are taken as containerd's `platforms` package takes them: `aarch64` is `arm64`, `arm64` is `arm64/v8`, `arm` is
 * `arm/v7`, `amd64` is `amd64/v1`. Whoever names no variant wants any.
 */
import { Failure } from "../base/failure.ts";
import type { Descriptor } from "./descriptor.ts";
import { type Digest, isDigest } from "./digest.ts";

/** Of an index, or wanted; in lower case, under the usual names. */
export interface Platform {
  readonly os: string;
  readonly architecture: string;
  /** Undefined where every one will do. */
  readonly variant: string | undefined;
}

const COMPONENT = /^[a-z0-9][a-z0-9._-]{0,63}$/;
const OS_NAMES: ReadonlyMap<string, string> = new Map([["macos", "darwin"]]);
/** Other names of an architecture, some of which say the variant as well. */
const ARCHITECTURE_NAMES: ReadonlyMap<string, readonly [string, string?]> = new Map([
  ["i386", ["386"]],
  ["x86_64", ["amd64"]],
  ["x86-64", ["amd64"]],
  ["aarch64", ["arm64"]],
  ["armhf", ["arm", "v7"]],
  ["armel", ["arm", "v6"]],
]);
/** What a manifest is for that names no variant. */
const USUAL_VARIANT: ReadonlyMap<string, string> = new Map([
  ["arm64", "v8"],
  ["arm", "v7"],
  ["amd64", "v1"],
]);

/** `os/architecture[/variant]`. @throws Failure `invalid`. */
export function parsePlatform(text: string): Platform {
  const [os = "", architecture = "", variant, ...more] = text.slice(0, 200).trim().toLowerCase().split("/");
  const parts = [os, architecture, ...(variant === undefined ? [] : [variant])];
  if (more.length > 0 || !parts.every((part) => COMPONENT.test(part))) {
    throw new Failure("invalid", "not a platform: expected os/architecture[/variant], such as linux/amd64", {
      detail: { platform: text.slice(0, 200) },
    });
  }
  const [name, implied] = ARCHITECTURE_NAMES.get(architecture) ?? [architecture];
  // `arm/7` and `arm64/8` are written, too.
  const given = variant !== undefined && /^\d/.test(variant) && name.startsWith("arm") ? `v${variant}` : variant;
  return { os: OS_NAMES.get(os) ?? os, architecture: name, variant: given ?? implied };
}

/** `linux/amd64,linux/arm64`: each once, in their order. @throws Failure `invalid`, for an empty one too. */
export function parsePlatforms(text: string): Platform[] {
  const platforms = text.split(",").map(parsePlatform);
  return [...new Map(platforms.map((platform) => [platformText(platform), platform])).values()];
}

export function platformText({ os, architecture, variant }: Platform): string {
  return variant === undefined ? `${os}/${architecture}` : `${os}/${architecture}/${variant}`;
}

/** Does what is for `offered` do for whoever wants `wanted`? */
export function matchesPlatform(wanted: Platform, offered: Platform): boolean {
  if (wanted.os !== offered.os || wanted.architecture !== offered.architecture) return false;
  return (
    wanted.variant === undefined || wanted.variant === (offered.variant ?? USUAL_VARIANT.get(offered.architecture))
  );
}

/**
 * Which manifests of an index are wanted: those for one of the platforms, what is said of these (BuildKit's attestations,
 * which are for `unknown/unknown` and name what they are about), and those that say no platform at all. All of them
 * where no platform is named.
 * @param named the manifests that the index names (`parseManifest`).
 */
export function manifestsFor(
  index: Buffer,
  named: readonly Descriptor[],
  platforms: readonly Platform[],
): readonly Descriptor[] {
  if (platforms.length === 0) return named;
  const subjects = attestedIn(index);
  const isWanted = ({ platform }: Descriptor): boolean => {
    const offered = platform === undefined ? undefined : findPlatform(platform);
    if (offered === undefined || offered.os === "unknown") return true;
    return platforms.some((wanted) => matchesPlatform(wanted, offered));
  };
  const unwanted = new Set(named.filter((one) => !isWanted(one)).map(({ digest }) => digest));
  return named.filter(({ digest }) => {
    const subject = subjects.get(digest);
    return !unwanted.has(digest) && (subject === undefined || !unwanted.has(subject));
  });
}

/** Is one of the manifests for one of the platforms? What says no platform is for any. */
export function offersPlatform(named: readonly Descriptor[], wanted: Platform): boolean {
  return named.some(({ platform }) => {
    const offered = platform === undefined ? undefined : findPlatform(platform);
    return offered === undefined || matchesPlatform(wanted, offered);
  });
}

function findPlatform(text: string): Platform | undefined {
  try {
    return parsePlatform(text);
  } catch {
    return undefined;
  }
}

/** BuildKit (docs/attestations/attestation-storage.md): an attestation's descriptor names the manifest it is about. */
function attestedIn(index: Buffer): ReadonlyMap<Digest, Digest> {
  const found = new Map<Digest, Digest>();
  const manifests = memberOf(parsed(index), "manifests");
  for (const entry of Array.isArray(manifests) ? manifests : []) {
    const digest = memberOf(entry, "digest");
    const subject = memberOf(memberOf(entry, "annotations"), "vnd.docker.reference.digest");
    if (typeof digest !== "string" || typeof subject !== "string") continue;
    if (isDigest(digest) && isDigest(subject)) found.set(digest, subject);
  }
  return found;
}

export interface PlatformManifest {
  readonly digest: Digest;
  /** `linux/arm64/v8`, `windows/amd64/10.0.20348`: equal for the same platform in two versions of an index. */
  readonly platform: string;
}

/**
 * The manifests of an index that say what they run on, in its order; nothing for a document that is no index. What is for
 * nowhere (`unknown/unknown`: attestations) is left out.
 */
export function platformsIn(index: Buffer): PlatformManifest[] {
  const manifests = memberOf(parsed(index), "manifests");
  if (!Array.isArray(manifests)) return [];
  const found: PlatformManifest[] = [];
  for (const entry of manifests) {
    const digest = memberOf(entry, "digest");
    const platform = memberOf(entry, "platform");
    const [os, architecture] = [memberOf(platform, "os"), memberOf(platform, "architecture")];
    if (typeof digest !== "string" || !isDigest(digest) || typeof os !== "string" || os === "unknown") continue;
    const variant = memberOf(platform, "variant");
    // 10.0.20348.2113 is 10.0.20348 with the patches of a month.
    const version = String(memberOf(platform, "os.version") ?? "").replace(/^(\d+\.\d+\.\d+)\..*$/, "$1");
    const parts = [os, architecture, variant, version].filter((part) => typeof part === "string" && part !== "");
    found.push({ digest, platform: parts.join("/") });
  }
  return found;
}

function parsed(bytes: Buffer): unknown {
  try {
    return JSON.parse(bytes.toString("utf8"));
  } catch {
    return undefined;
  }
}

function memberOf(value: unknown, name: string): unknown {
  return typeof value === "object" && value !== null ? Reflect.get(value, name) : undefined;
}
