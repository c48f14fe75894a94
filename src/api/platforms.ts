/**
 * Which platforms are stored of an image: those that its index names and whose manifests are here, or what its own
 * configuration says.
 */
import { isFailure } from "../base/failure.ts";
import { type Digest, isDigest } from "../oci/digest.ts";
import { parseManifest } from "../oci/manifest.ts";

/** The bytes of a stored document of at most `limitBytes`; undefined where it is not stored. */
export type ManifestReader = (digest: Digest, limitBytes: number) => Promise<Buffer | undefined>;

export interface PlatformParts {
  readonly read: ManifestReader;
  readonly isStored: (digest: Digest) => boolean;
}

const MAX_MANIFEST_BYTES = 4 * 1024 * 1024;
const MAX_CONFIG_BYTES = 1024 * 1024;
const MAX_PLATFORMS = 100;

/** Documents that cannot be read say nothing. */
export async function platformsOf(parts: PlatformParts, digest: Digest, mediaType: string): Promise<string[]> {
  try {
    const bytes = await parts.read(digest, MAX_MANIFEST_BYTES);
    if (bytes === undefined) return [];
    const { manifests, blobs } = parseManifest(bytes, mediaType);
    const named = manifests.flatMap((child) =>
      child.platform === undefined || child.platform.startsWith("unknown") || !parts.isStored(child.digest)
        ? []
        : [child.platform],
    );
    if (manifests.length > 0) return [...new Set(named)].slice(0, MAX_PLATFORMS);
    const [config] = blobs;
    const own = config === undefined ? undefined : await configPlatform(parts, config.digest);
    return own === undefined ? [] : [own];
  } catch (error) {
    if (isFailure(error)) return [];
    throw error;
  }
}

/** OCI image specification, config.md. */
async function configPlatform({ read, isStored }: PlatformParts, digest: Digest): Promise<string | undefined> {
  const bytes = isDigest(digest) && isStored(digest) ? await read(digest, MAX_CONFIG_BYTES) : undefined;
  if (bytes === undefined) return undefined;
  let config: unknown;
  try {
    config = JSON.parse(bytes.toString("utf8"));
  } catch {
    return undefined;
  }
  if (typeof config !== "object" || config === null) return undefined;
  const parts = ["os", "architecture", "variant"].map((name): unknown => Reflect.get(config, name));
  const known = parts.filter((part) => typeof part === "string" && /^[a-zA-Z0-9._-]{1,64}$/.test(part));
  return known.length < 2 ? undefined : known.join("/");
}
