/**
 * The content that is pulled, on disk in the layout of docker-registry, so that docker-registry and nginx can serve the
 * very same files.
 *
 * Written and synced before anything is timed: the disk's work of writing it must not fall into a measurement.
 */
import { createHash } from "node:crypto";
import { mkdir, open, symlink, truncate, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { setImmediate } from "node:timers/promises";
import { type Digest, hexOf, parseDigest } from "../src/oci/digest.ts";
import { VirtualContent } from "../test/kit/content.ts";
import { makeImage } from "../test/kit/image.ts";

export const REPOSITORY = "bench/image";
export const TAG = "latest";
const SPARSE_CHUNK_BYTES = 1024 * 1024;

export interface LibraryBlob {
  readonly digest: Digest;
  readonly sizeBytes: number;
  /** Path and name of the plain file. */
  readonly file: string;
  /** Where a registry serves it. */
  readonly path: string;
}

export interface LibraryManifest {
  readonly digest: Digest;
  readonly mediaType: string;
  readonly sizeBytes: number;
  readonly file: string;
  /** By tag. */
  readonly path: string;
}

export class Library {
  /** What docker-registry calls its root directory. */
  readonly root: string;
  readonly #blobs = new Map<string, Promise<LibraryBlob>>();
  #manifest: Promise<LibraryManifest> | undefined;

  constructor(root: string) {
    this.root = root;
  }

  /** Another seed is other content; the same size and seed are written once. */
  blob(sizeBytes: number, seed: number): Promise<LibraryBlob> {
    const key = `${sizeBytes} ${seed}`;
    let blob = this.#blobs.get(key);
    if (blob === undefined) {
      blob = this.#writeBlob(sizeBytes, seed);
      this.#blobs.set(key, blob);
    }
    return blob;
  }

  async blobs(count: number, sizeBytes: number, firstSeed = 1): Promise<LibraryBlob[]> {
    const blobs: LibraryBlob[] = [];
    for (let i = 0; i < count; i += 1) blobs.push(await this.blob(sizeBytes, firstSeed + i));
    return blobs;
  }

  /** Zeros, as a file with nothing in it. */
  async sparseBlob(sizeBytes: number): Promise<LibraryBlob> {
    const sum = createHash("sha256");
    const zeros = Buffer.alloc(SPARSE_CHUNK_BYTES);
    for (let at = 0; at < sizeBytes; at += zeros.length) {
      sum.update(zeros.subarray(0, sizeBytes - at));
      // Signals and time limits are heard meanwhile.
      if (at % (64 * SPARSE_CHUNK_BYTES) === 0) await setImmediate();
    }
    const digest = parseDigest(`sha256:${sum.digest("hex")}`);
    const file = await this.#writeData(digest, []);
    await truncate(file, sizeBytes);
    return { digest, sizeBytes, file, path: `/v2/${REPOSITORY}/blobs/${digest}` };
  }

  /** A tagged image of eight layers: 1.5 kB of manifest, which is what images have. */
  manifest(): Promise<LibraryManifest> {
    this.#manifest ??= this.#writeManifest();
    return this.#manifest;
  }

  async #writeBlob(sizeBytes: number, seed: number): Promise<LibraryBlob> {
    const content = new VirtualContent(sizeBytes, seed);
    const { digest } = content;
    const file = await this.#writeData(digest, content.read(0, sizeBytes));
    return { digest, sizeBytes, file, path: `/v2/${REPOSITORY}/blobs/${digest}` };
  }

  async #writeManifest(): Promise<LibraryManifest> {
    const image = makeImage({ layers: [11_000, 12_000, 13_000, 14_000, 15_000, 16_000, 17_000, 18_000] });
    const { digest, manifest } = image;
    for (const [blob, bytes] of image.blobs) await this.#writeData(blob, [bytes]);
    const file = await this.#writeData(digest, [manifest]);
    const manifests = this.#repository("_manifests");
    const [algorithm] = digest.split(":", 1);
    await writeLink(join(manifests, "revisions", `${algorithm}`, hexOf(digest), "link"), digest);
    await writeLink(join(manifests, "tags", TAG, "current", "link"), digest);
    await writeLink(join(manifests, "tags", TAG, "index", `${algorithm}`, hexOf(digest), "link"), digest);
    // For nginx, which follows no links of docker-registry's kind.
    await symlink(file, join(manifests, "tags", TAG, "data"));
    const path = `/v2/${REPOSITORY}/manifests/${TAG}`;
    return { digest, mediaType: image.mediaType, sizeBytes: manifest.length, file, path };
  }

  async #writeData(digest: Digest, chunks: Iterable<Buffer>): Promise<string> {
    const hex = hexOf(digest);
    const file = join(this.root, "docker/registry/v2/blobs/sha256", hex.slice(0, 2), hex, "data");
    await mkdir(dirname(file), { recursive: true });
    const handle = await open(file, "w");
    try {
      for (const chunk of chunks) await handle.writeFile(chunk);
      await handle.datasync();
    } finally {
      await handle.close();
    }
    await writeLink(join(this.#repository("_layers"), "sha256", hex, "link"), digest);
    return file;
  }

  #repository(folder: string): string {
    return join(this.root, "docker/registry/v2/repositories", REPOSITORY, folder);
  }
}

async function writeLink(file: string, digest: Digest): Promise<void> {
  await mkdir(dirname(file), { recursive: true });
  await writeFile(file, digest);
}
