/**
 * An OCI image layout (image specification, image-layout.md): where its files are, and its `index.json`.
 *
 * Names are in full form in `org.opencontainers.image.ref.name`, whose grammar allows that and by which skopeo and oras
 * look, and in `io.containerd.image.name`, which containerd prefers. What refers to an image is an entry without a name,
 * as oras writes it.
 */
import { Failure } from "../base/failure.ts";
import type { Descriptor } from "../oci/descriptor.ts";
import { algorithmOf, type Digest, hexOf, isDigest } from "../oci/digest.ts";
import { OCI_INDEX } from "../oci/mediatypes.ts";

export const LAYOUT_FILE = "oci-layout";
export const LAYOUT = Buffer.from('{"imageLayoutVersion":"1.0.0"}');
export const INDEX_FILE = "index.json";

const REF_NAME = "org.opencontainers.image.ref.name";
const CONTAINERD_NAME = "io.containerd.image.name";
const MAX_ENTRIES = 100_000;
/** JSON is parsed in one go. */
const MAX_PARSED = 4 * 1024 * 1024;

export interface LayoutEntry extends Descriptor {
  /** Full or short, as it stands there; the fuller one first. */
  readonly names: readonly string[];
}

export function blobPath(digest: Digest): string {
  return `blobs/${algorithmOf(digest)}/${hexOf(digest)}`;
}

/** The digest that a file is named after; undefined for what is no blob's name. */
export function findBlobOf(path: string): Digest | undefined {
  const match = /^blobs\/(sha256|sha512)\/([a-f0-9]+)$/.exec(path);
  const text = `${match?.[1]}:${match?.[2]}`;
  return isDigest(text) ? text : undefined;
}

export function encodeIndex(
  entries: readonly (Descriptor & { readonly name: string | undefined; readonly artifactType: string | undefined })[],
): Buffer {
  const manifests = entries.map(({ digest, sizeBytes, mediaType, name, artifactType }) => ({
    mediaType,
    digest,
    size: sizeBytes,
    ...(artifactType === undefined ? {} : { artifactType }),
    ...(name === undefined ? {} : { annotations: { [CONTAINERD_NAME]: name, [REF_NAME]: name } }),
  }));
  return Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType: OCI_INDEX, manifests }));
}

/** @throws Failure `corrupt` */
export function parseIndex(bytes: Buffer): LayoutEntry[] {
  if (bytes.length > MAX_PARSED) throw new Failure("invalid", `the archive is refused: ${INDEX_FILE} is too large`);
  const document = parseJson(bytes, INDEX_FILE);
  const manifests = memberOf(document, "manifests");
  if (!Array.isArray(manifests)) throw new Failure("corrupt", `${INDEX_FILE} names no manifests`);
  if (manifests.length > MAX_ENTRIES) throw new Failure("corrupt", `${INDEX_FILE} names more than ${MAX_ENTRIES}`);
  return manifests.map((entry) => {
    const [digest, size, mediaType] = [
      memberOf(entry, "digest"),
      memberOf(entry, "size"),
      memberOf(entry, "mediaType"),
    ];
    if (typeof digest !== "string" || !isDigest(digest)) {
      throw new Failure("corrupt", `${INDEX_FILE} has an entry without a digest`);
    }
    const annotations = memberOf(entry, "annotations");
    const names = [memberOf(annotations, CONTAINERD_NAME), memberOf(annotations, REF_NAME)];
    return {
      digest,
      sizeBytes: typeof size === "number" && Number.isSafeInteger(size) && size >= 0 ? size : -1,
      mediaType: typeof mediaType === "string" ? mediaType : "",
      names: names.flatMap((name) => (typeof name === "string" && name !== "" ? [name] : [])),
    };
  });
}

/** @throws Failure `unsupported` for a layout of another version. */
export function checkLayout(bytes: Buffer): void {
  const version = memberOf(parseJson(bytes, LAYOUT_FILE), "imageLayoutVersion");
  if (typeof version === "string" && /^1\.\d+\.\d+$/.test(version)) return;
  throw new Failure("unsupported", `${LAYOUT_FILE} says a version that is not known here: expected 1.0.0`);
}

/** @throws Failure `corrupt` */
export function parseJson(bytes: Buffer, name: string): unknown {
  try {
    return JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch (cause) {
    throw new Failure("corrupt", `${name} is not JSON`, { cause });
  }
}

export function memberOf(value: unknown, name: string): unknown {
  return typeof value === "object" && value !== null ? Reflect.get(value, name) : undefined;
}
