/**
 * Which platform each manifest of an index is for (OCI image specification, image-index.md).
 */
import { type Digest, isDigest } from "./digest.ts";

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
