/**
 * Files that are manifests: told from other blobs by what they hold, and believed only where it matches their name.
 */
import { createHash } from "node:crypto";
import { open } from "node:fs/promises";
import { errnoOf, isFailure } from "../base/failure.ts";
import type { Inventory, Naming } from "../meta/inventory.ts";
import { algorithmOf, type Digest, digestOf, finishDigest } from "../oci/digest.ts";
import { type ManifestContent, parseManifest } from "../oci/manifest.ts";
import { type FileIdentity, identityOf } from "../store/condemned.ts";
import type { DiskStore } from "../store/disk.ts";
import { MAX_MANIFEST_BYTES } from "../upstream/upstream.ts";

export interface DocumentParts {
  readonly store: Pick<DiskStore, "pathOf">;
  readonly inventory: Pick<Inventory, "addManifest">;
}

interface ReadFile {
  readonly isWhole: boolean;
  readonly sizeBytes: number;
  readonly identity: FileIdentity;
}

const HEAD_BYTES = 4096;
/** Every manifest has it, and an image's configuration, which looks like one otherwise, has not. */
const TELLING = '"schemaVersion"';

export class Documents {
  readonly #parts: DocumentParts;
  readonly #signal: AbortSignal;

  constructor(parts: DocumentParts, signal: AbortSignal) {
    this.#parts = parts;
    this.#signal = signal;
  }

  /**
   * Records what the file names, where it is a manifest.
   * @param mediaType as it was decided when the manifest was stored; a document need not say it.
   * @returns what it names; undefined where it is none.
   */
  async link(digest: Digest, sizeBytes: number | undefined, mediaType?: string): Promise<Naming | undefined> {
    if (sizeBytes !== undefined && sizeBytes > MAX_MANIFEST_BYTES) return undefined;
    const bytes = await this.#readDocument(digest);
    if (bytes === undefined) return undefined;
    const content = findManifest(bytes, mediaType);
    if (content === undefined || digestOf(bytes, algorithmOf(digest)) !== digest) return undefined;
    const children = [...content.manifests, ...content.blobs].map((named) => named.digest);
    const naming = { children, subject: content.subject?.digest };
    this.#parts.inventory.addManifest(digest, content.mediaType, naming);
    return naming;
  }

  /** Whether the file is what its name says, and which file that was; undefined where the disk would not tell. */
  async read(digest: Digest): Promise<ReadFile | undefined> {
    const algorithm = algorithmOf(digest);
    const hash = createHash(algorithm);
    try {
      await using file = await open(this.#parts.store.pathOf(digest), "r");
      for await (const chunk of file.createReadStream({ signal: this.#signal, autoClose: false })) hash.update(chunk);
      const stats = await file.stat();
      const isWhole = finishDigest(algorithm, hash) === digest;
      return { isWhole, sizeBytes: stats.size, identity: identityOf(stats) };
    } catch {
      this.#signal.throwIfAborted();
      return undefined;
    }
  }

  /** Undefined for what is plainly none, by its first bytes. */
  async #readDocument(digest: Digest): Promise<Buffer | undefined> {
    try {
      await using file = await open(this.#parts.store.pathOf(digest), "r");
      const { bytesRead, buffer } = await file.read(Buffer.allocUnsafe(HEAD_BYTES), 0, HEAD_BYTES, 0);
      const head = buffer.subarray(0, bytesRead);
      if (!/^\s*\{/.test(head.toString("latin1"))) return undefined;
      const { size } = await file.stat();
      if (size > MAX_MANIFEST_BYTES) return undefined;
      if (bytesRead === size) return Buffer.from(head);
      const whole = Buffer.allocUnsafe(size);
      const rest = await file.read(whole, 0, size, 0);
      return rest.bytesRead === size ? whole : undefined;
    } catch (error) {
      if (errnoOf(error) === undefined) throw error;
      return undefined;
    }
  }
}

function findManifest(bytes: Buffer, mediaType: string | undefined): ManifestContent | undefined {
  if (!bytes.includes(TELLING)) return undefined;
  try {
    return parseManifest(bytes, mediaType);
  } catch (error) {
    if (isFailure(error, "corrupt")) return undefined;
    throw error;
  }
}
