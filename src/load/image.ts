/**
 * What is to be fetched of an image, read from its manifest or index: pure.
 */
import { messageOf } from "../base/failure.ts";
import type { Descriptor } from "../oci/descriptor.ts";
import { isDigest } from "../oci/digest.ts";
import { parseManifest } from "../oci/manifest.ts";
import { Mishap } from "./mishap.ts";

export interface ImagePlan {
  readonly digest: string;
  readonly config: Descriptor | undefined;
  /** Every digest once, in the manifest's order. */
  readonly layers: readonly Descriptor[];
}

/** An image that can be fetched, or the index entry to go on with. */
export type Reading =
  | { readonly type: "image"; readonly image: ImagePlan }
  | { readonly type: "index"; readonly child: Descriptor };

/** @throws Mishap `bad answer` where it is no manifest, or an index without this platform. */
export function readManifest(
  bytes: Buffer,
  servedAs: string | undefined,
  facts: { readonly digest: string; readonly platform: string },
): Reading {
  try {
    const { manifests, blobs } = parseManifest(bytes, servedAs);
    if (manifests.length === 0 && hasManifests(bytes)) throw new Mishap("bad answer", "the index names no manifest");
    if (manifests.length > 0) return { type: "index", child: choosePlatform(bytes, manifests, facts.platform) };
    const configDigest = configDigestIn(bytes);
    const config = blobs.find(({ digest }) => digest === configDigest);
    const layers = [...new Map(blobs.map((blob) => [blob.digest, blob])).values()].filter((blob) => {
      return blob.digest !== config?.digest;
    });
    return { type: "image", image: { digest: facts.digest, config, layers } };
  } catch (error) {
    if (error instanceof Mishap) throw error;
    throw new Mishap("bad answer", messageOf(error));
  }
}

/** `linux/arm64/v8`: where no variant is asked for, any will do. */
function choosePlatform(bytes: Buffer, manifests: readonly Descriptor[], platform: string): Descriptor {
  const [os, architecture, variant] = platform.split("/");
  const seen: string[] = [];
  for (const entry of entriesIn(bytes)) {
    const { digest, platform: own } = entry;
    if (typeof own !== "object" || own === null || typeof digest !== "string" || !isDigest(digest)) continue;
    const its = own as Record<string, unknown>;
    seen.push([its["os"], its["architecture"], its["variant"]].filter((part) => typeof part === "string").join("/"));
    if (its["os"] !== os || its["architecture"] !== architecture) continue;
    if (variant !== undefined && its["variant"] !== variant) continue;
    const found = manifests.find((one) => one.digest === digest);
    if (found !== undefined) return found;
  }
  const known = seen.slice(0, 10).join(", ").slice(0, 300);
  throw new Mishap("bad answer", `the index has no ${platform}; it has: ${known === "" ? "no platform" : known}`);
}

function entriesIn(bytes: Buffer): Record<string, unknown>[] {
  const { manifests } = JSON.parse(bytes.toString()) as { manifests?: unknown };
  return Array.isArray(manifests) ? manifests.filter((entry) => typeof entry === "object" && entry !== null) : [];
}

function hasManifests(bytes: Buffer): boolean {
  return Array.isArray((JSON.parse(bytes.toString()) as { manifests?: unknown }).manifests);
}

function configDigestIn(bytes: Buffer): unknown {
  return (JSON.parse(bytes.toString()) as { config?: { digest?: unknown } }).config?.digest;
}
