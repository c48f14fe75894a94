/**
 * Reads a manifest or index far enough to know what it is and what it names. The bytes themselves are never changed.
 *
 * The media type is decided once, here. A document that claims to be two things, or is served as something else than it
 * says it is, is refused (CVE-2021-41190). `subject` and `urls` give access to nothing.
 */
import { Failure } from "../base/failure.ts";
import type { Descriptor } from "./descriptor.ts";
import { isDigest } from "./digest.ts";
import {
  DOCKER_LIST,
  DOCKER_MANIFEST,
  DOCKER_SCHEMA1,
  DOCKER_SCHEMA1_SIGNED,
  findMediaType,
  OCI_INDEX,
  OCI_MANIFEST,
} from "./mediatypes.ts";

export interface ManifestContent {
  readonly mediaType: string;
  /** Manifests that an index names. */
  readonly manifests: readonly Descriptor[];
  /** Configuration, layers and other blobs. The size is -1 where the document gives none (schema 1). */
  readonly blobs: readonly Descriptor[];
  /** What this document is about (a signature's image, say). */
  readonly subject: Descriptor | undefined;
}

type Shape = "index" | "image" | "schema1" | "other";

const SHAPE_OF_TYPE: ReadonlyMap<string, Shape> = new Map([
  [OCI_INDEX, "index"],
  [DOCKER_LIST, "index"],
  [OCI_MANIFEST, "image"],
  [DOCKER_MANIFEST, "image"],
  [DOCKER_SCHEMA1, "schema1"],
  [DOCKER_SCHEMA1_SIGNED, "schema1"],
]);

/** Types that servers send when they do not know better; they claim nothing. */
const NO_CLAIM: ReadonlySet<string> = new Set(["application/json", "application/octet-stream", "text/plain"]);

/**
 * @param servedAs the `Content-Type` the document came with, without parameters.
 * @throws Failure `corrupt` with code MANIFEST_INVALID.
 */
export function parseManifest(bytes: Buffer, servedAs: string | undefined): ManifestContent {
  const document = parseObject(bytes);
  const shape = shapeOf(document);
  const mediaType = judgeMediaType(document, shape, servedAs);
  return {
    mediaType,
    manifests: descriptorsIn(document["manifests"]),
    blobs: [
      ...descriptorsIn([document["config"]]),
      ...descriptorsIn(document["layers"]),
      ...descriptorsIn(document["blobs"]),
      ...schema1Layers(document["fsLayers"]),
    ],
    subject: descriptorsIn([document["subject"]])[0],
  };
}

function judgeMediaType(document: Record<string, unknown>, shape: Shape, servedAs: string | undefined): string {
  const declared = typeof document["mediaType"] === "string" ? findMediaType(document["mediaType"]) : undefined;
  const claimed = servedAs !== undefined && !NO_CLAIM.has(servedAs) ? servedAs : undefined;
  if (declared !== undefined && claimed !== undefined && declared !== claimed) {
    throw refusal(`the manifest says it is ${declared} but was served as ${claimed}`);
  }
  const mediaType = declared ?? claimed ?? defaultType(document, shape);
  const expected = SHAPE_OF_TYPE.get(mediaType);
  if (expected !== undefined && expected !== shape) throw refusal(`the manifest is no ${mediaType}`);
  return mediaType;
}

/** The image specification lets `mediaType` be absent; then the members tell. */
function defaultType(document: Record<string, unknown>, shape: Shape): string {
  switch (shape) {
    case "index":
      return OCI_INDEX;
    case "image":
      return OCI_MANIFEST;
    case "schema1":
      return document["signatures"] === undefined ? DOCKER_SCHEMA1 : DOCKER_SCHEMA1_SIGNED;
    case "other":
      throw refusal("the document is neither a manifest nor an index");
  }
}

function shapeOf(document: Record<string, unknown>): Shape {
  const index = Array.isArray(document["manifests"]);
  const image = document["layers"] !== undefined || document["config"] !== undefined;
  const schema1 = document["fsLayers"] !== undefined;
  if (Number(index) + Number(image) + Number(schema1) > 1) {
    throw refusal("the document claims to be a manifest and an index at once");
  }
  if (index) return "index";
  if (image) return "image";
  return schema1 ? "schema1" : "other";
}

function parseObject(bytes: Buffer): Record<string, unknown> {
  let document: unknown;
  try {
    document = JSON.parse(new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes));
  } catch (cause) {
    throw new Failure("corrupt", "the manifest is not JSON", { code: "MANIFEST_INVALID", cause });
  }
  if (!isObject(document)) throw refusal("the manifest is not a JSON object");
  return document;
}

/** Entries that are no descriptors, or whose digest nobody here can verify, name nothing that could be served. */
function descriptorsIn(list: unknown): Descriptor[] {
  if (!Array.isArray(list)) return [];
  const found: Descriptor[] = [];
  for (const entry of list) {
    if (!isObject(entry)) continue;
    const { digest, size, mediaType, urls, platform } = entry;
    if (typeof digest !== "string" || !isDigest(digest)) continue;
    // Registries do not check that a layer which lives elsewhere exists: naming it proves nothing.
    if (Array.isArray(urls) && urls.length > 0) continue;
    const runsOn = platformText(platform);
    found.push({
      digest,
      sizeBytes: typeof size === "number" && Number.isSafeInteger(size) && size >= 0 ? size : -1,
      mediaType: typeof mediaType === "string" ? mediaType : "",
      ...(runsOn === undefined ? {} : { platform: runsOn }),
    });
  }
  return found;
}

/** As people write it: `os/architecture[/variant]`. */
function platformText(platform: unknown): string | undefined {
  if (!isObject(platform)) return undefined;
  const parts = [platform["os"], platform["architecture"], platform["variant"]];
  const known = parts.filter((part) => typeof part === "string" && /^[a-zA-Z0-9._-]{1,64}$/.test(part));
  return known.length < 2 ? undefined : known.join("/");
}

function schema1Layers(list: unknown): Descriptor[] {
  if (!Array.isArray(list)) return [];
  return descriptorsIn(list.map((entry) => (isObject(entry) ? { digest: entry["blobSum"] } : undefined)));
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function refusal(message: string): Failure {
  return new Failure("corrupt", message, { code: "MANIFEST_INVALID" });
}
