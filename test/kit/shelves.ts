/**
 * What the test upstream has: repositories with their manifests, tags and blobs. Knows nothing of HTTP.
 */
import { type Digest, digestOf, isDigest } from "../../src/oci/digest.ts";
import { OCI_INDEX } from "../../src/oci/mediatypes.ts";
import { BufferContent, type Content } from "./content.ts";
import type { TestImage, TestIndex } from "./image.ts";

export interface ShelvedManifest {
  readonly content: BufferContent;
  readonly mediaType: string;
}

export class Shelf {
  readonly manifests = new Map<string, ShelvedManifest>();
  readonly tags = new Map<string, Digest>();
  readonly blobs = new Map<string, Content>();
}

export class Shelves {
  readonly #shelves = new Map<string, Shelf>();

  find(repository: string): Shelf | undefined {
    return this.#shelves.get(repository);
  }

  in(repository: string): Shelf {
    const shelf = this.#shelves.get(repository) ?? new Shelf();
    this.#shelves.set(repository, shelf);
    return shelf;
  }

  /** Adds an image or an index with all below it, and tags it where a tag is given. */
  add(repository: string, image: TestImage | TestIndex, tag?: string): void {
    if ("images" in image) for (const child of image.images) this.add(repository, child);
    else for (const blob of [...image.blobs.values(), ...image.contents.values()]) this.addBlob(repository, blob);
    this.addManifest(repository, image.manifest, image.mediaType, tag);
  }

  addManifest(repository: string, bytes: Buffer, mediaType: string, tag?: string): Digest {
    const content = new BufferContent(bytes);
    const shelf = this.in(repository);
    shelf.manifests.set(content.digest, { content, mediaType });
    if (tag !== undefined) shelf.tags.set(tag, content.digest);
    return content.digest;
  }

  addBlob(repository: string, blob: Buffer | Content): Digest {
    const content = Buffer.isBuffer(blob) ? new BufferContent(blob, digestOf(blob)) : blob;
    this.in(repository).blobs.set(content.digest, content);
    return content.digest;
  }

  remove(repository: string, reference: string): void {
    const shelf = this.find(repository);
    shelf?.tags.delete(reference);
    shelf?.manifests.delete(reference);
    shelf?.blobs.delete(reference);
  }

  findManifest(repository: string, reference: string): ShelvedManifest | undefined {
    const shelf = this.find(repository);
    const digest = isDigest(reference) ? reference : shelf?.tags.get(reference);
    return digest === undefined ? undefined : shelf?.manifests.get(digest);
  }

  /** The referrers index of a digest, as the specification forms it. */
  referrersOf(repository: string, digest: string, artifactType: string | undefined): Buffer {
    const manifests: object[] = [];
    for (const { content, mediaType } of this.find(repository)?.manifests.values() ?? []) {
      const document = readDocument(content.bytes);
      if (document?.subject?.digest !== digest) continue;
      const type = document.artifactType ?? document.config?.mediaType;
      if (artifactType !== undefined && type !== artifactType) continue;
      manifests.push({
        mediaType,
        digest: content.digest,
        size: content.sizeBytes,
        artifactType: type,
        ...(document.annotations === undefined ? {} : { annotations: document.annotations }),
      });
    }
    return Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType: OCI_INDEX, manifests }));
  }
}

interface Document {
  readonly subject?: { readonly digest?: string };
  readonly artifactType?: string;
  readonly config?: { readonly mediaType?: string };
  readonly annotations?: object;
}

function readDocument(bytes: Buffer): Document | undefined {
  try {
    return JSON.parse(bytes.toString()) as Document;
  } catch {
    return undefined;
  }
}
