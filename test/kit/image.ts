/**
 * Images made in memory, in the bytes a registry would serve: layers, config, manifest, multi-arch index, in the OCI
 * or the Docker schema 2 form. The same options always give the same bytes.
 *
 * Layers given as a size are noise with the media type of a layer: good for every test that does not unpack. Layers
 * given as a `TarLayer` are real and can be run.
 */
import type { Descriptor } from "../../src/oci/descriptor.ts";
import { type Digest, digestOf } from "../../src/oci/digest.ts";
import { DOCKER_LIST, DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST } from "../../src/oci/mediatypes.ts";
import { type Content, seededBytes } from "./content.ts";
import type { TarLayer } from "./tar.ts";

export type ImageFormat = "oci" | "docker";

export interface ImageOptions {
  /** Default "oci". */
  readonly format?: ImageFormat;
  /** Sizes in bytes, bytes, content too large to hold, or real tars. Default three layers of 1000, 20000 and 300000 bytes. */
  readonly layers?: readonly (number | Buffer | Content | TarLayer)[];
  /** Another seed makes another image. */
  readonly seed?: number;
  /** Default amd64. */
  readonly architecture?: string;
  readonly entrypoint?: readonly string[];
  readonly annotations?: Readonly<Record<string, string>>;
  /** Makes it a referrer of another manifest (OCI only). */
  readonly subject?: Descriptor;
  readonly artifactType?: string;
}

/** A manifest with every blob below it. */
export interface TestImage {
  readonly manifest: Buffer;
  readonly digest: Digest;
  readonly mediaType: string;
  readonly descriptor: Descriptor;
  readonly architecture: string;
  readonly config: Descriptor;
  readonly layers: readonly Descriptor[];
  /** Config and layers that are held in memory; not the manifest. */
  readonly blobs: ReadonlyMap<Digest, Buffer>;
  /** Layers that were given as `Content`. */
  readonly contents: ReadonlyMap<Digest, Content>;
}

export interface TestIndex {
  readonly manifest: Buffer;
  readonly digest: Digest;
  readonly mediaType: string;
  readonly descriptor: Descriptor;
  readonly images: readonly TestImage[];
}

const TYPES = {
  oci: {
    index: OCI_INDEX,
    manifest: OCI_MANIFEST,
    config: "application/vnd.oci.image.config.v1+json",
    layer: "application/vnd.oci.image.layer.v1.tar+gzip",
  },
  docker: {
    index: DOCKER_LIST,
    manifest: DOCKER_MANIFEST,
    config: "application/vnd.docker.container.image.v1+json",
    layer: "application/vnd.docker.image.rootfs.diff.tar.gzip",
  },
} as const;

export function makeImage(options: ImageOptions = {}): TestImage {
  const types = TYPES[options.format ?? "oci"];
  const seed = options.seed ?? 1;
  const architecture = options.architecture ?? "amd64";
  const blobs = new Map<Digest, Buffer>();
  const contents = new Map<Digest, Content>();
  const diffIds: Digest[] = [];
  const layers = (options.layers ?? [1_000, 20_000, 300_000]).map((layer, at) => {
    if (typeof layer === "object" && "gzip" in layer) {
      diffIds.push(digestOf(layer.tar));
      return keep(blobs, layer.gzip, types.layer);
    }
    if (typeof layer === "object" && "read" in layer && !Buffer.isBuffer(layer)) {
      diffIds.push(layer.digest);
      contents.set(layer.digest, layer);
      return { digest: layer.digest, sizeBytes: layer.sizeBytes, mediaType: types.layer };
    }
    const bytes = typeof layer === "number" ? seededBytes(layer, seed * 1000 + at) : layer;
    diffIds.push(digestOf(bytes));
    return keep(blobs, bytes, types.layer);
  });
  const configBytes = json({
    architecture,
    os: "linux",
    created: "1970-01-01T00:00:00Z",
    config: { Env: [`SEED=${seed}`], Entrypoint: options.entrypoint ?? ["/bin/none"] },
    rootfs: { type: "layers", diff_ids: diffIds },
    history: diffIds.map((_, at) => ({ created: "1970-01-01T00:00:00Z", created_by: `layer ${at}` })),
  });
  const config = keep(blobs, configBytes, types.config);
  const manifest = json({
    schemaVersion: 2,
    mediaType: types.manifest,
    ...(options.artifactType === undefined ? {} : { artifactType: options.artifactType }),
    config: wire(config),
    layers: layers.map(wire),
    ...(options.subject === undefined ? {} : { subject: wire(options.subject) }),
    ...(options.annotations === undefined ? {} : { annotations: options.annotations }),
  });
  const descriptor = describe(manifest, types.manifest);
  return {
    manifest,
    digest: descriptor.digest,
    mediaType: types.manifest,
    descriptor,
    architecture,
    config,
    layers,
    blobs,
    contents,
  };
}

export function makeIndex(images: readonly TestImage[], format: ImageFormat = "oci"): TestIndex {
  const mediaType = TYPES[format].index;
  const manifest = json({
    schemaVersion: 2,
    mediaType,
    manifests: images.map((image) => ({
      ...wire(image.descriptor),
      platform: { architecture: image.architecture, os: "linux" },
    })),
  });
  const descriptor = describe(manifest, mediaType);
  return { manifest, digest: descriptor.digest, mediaType, descriptor, images };
}

/** What the bytes are, as another document would say it. */
export function describe(bytes: Buffer, mediaType: string): Descriptor {
  return { digest: digestOf(bytes), sizeBytes: bytes.length, mediaType };
}

function keep(blobs: Map<Digest, Buffer>, bytes: Buffer, mediaType: string): Descriptor {
  const descriptor = describe(bytes, mediaType);
  blobs.set(descriptor.digest, bytes);
  return descriptor;
}

function wire(descriptor: Descriptor): { mediaType: string; digest: string; size: number } {
  return { mediaType: descriptor.mediaType, digest: descriptor.digest, size: descriptor.sizeBytes };
}

function json(value: unknown): Buffer {
  return Buffer.from(JSON.stringify(value, undefined, 2));
}
