/**
 * Bytes put into an ingest by its lanes, as bodies of upstreams are.
 */
import type { Digest } from "../../src/oci/digest.ts";
import type { BlobStore, Ingest, Kept, Lane } from "../../src/store/blobstore.ts";

/** Puts all of it into the lane, waiting where it asks for it. */
export async function pourInto(lane: Lane, bytes: Buffer, pieceBytes = 50_000): Promise<void> {
  for (let at = 0; at < bytes.length; ) {
    const space = lane.space();
    const count = bytes.copy(space, 0, at, Math.min(bytes.length, at + Math.min(pieceBytes, space.length)));
    at += count;
    if (!lane.filled(count)) await new Promise<void>((resolve) => lane.onDrain(resolve));
  }
}

/** The store with ingests whose `write` goes by one lane. */
export function storeOfBodies(store: BlobStore): BlobStore {
  return {
    has: (digest) => store.has(digest),
    open: (digest) => store.open(digest),
    read: (digest, limitBytes) => store.read(digest, limitBytes),
    ingest: async (digest: Digest, kept?: Kept) => new BodyIngest(await store.ingest(digest, kept)),
    partials: () => store.partials(),
    removePartial: (file) => store.removePartial(file),
    remove: (digest) => store.remove(digest),
    freeBytes: () => store.freeBytes(),
  };
}

class BodyIngest implements Ingest {
  readonly #ingest: Ingest;
  #lane: Lane | undefined;
  #rest: Buffer = Buffer.alloc(0);

  constructor(ingest: Ingest) {
    this.#ingest = ingest;
  }

  get digest() {
    return this.#ingest.digest;
  }

  get file(): string {
    return this.#ingest.file;
  }

  get receivedBytes(): number {
    return this.#ingest.receivedBytes;
  }

  get sizeBytes(): number | undefined {
    return this.#ingest.sizeBytes;
  }

  declareSize(sizeBytes: number): void {
    this.#ingest.declareSize(sizeBytes);
  }

  write(chunk: Buffer): boolean {
    this.#lane ??= this.#ingest.lane(0);
    for (let at = 0; at < chunk.length; ) {
      const count = chunk.copy(this.#lane.space(), 0, at);
      at += count;
      if (this.#lane.filled(count)) continue;
      this.#rest = chunk.subarray(at);
      return false;
    }
    return true;
  }

  onDrain(callback: () => void): void {
    this.#lane?.onDrain(() => {
      const rest = this.#rest;
      this.#rest = Buffer.alloc(0);
      if (this.write(rest)) callback();
      else this.onDrain(callback);
    });
  }

  lane(start: number, end?: number): Lane {
    return this.#ingest.lane(start, end);
  }

  finish() {
    return this.#ingest.finish();
  }

  onFailure(callback: (reason: Error) => void): void {
    this.#ingest.onFailure(callback);
  }

  fail(reason: Error): Promise<void> {
    return this.#ingest.fail(reason);
  }

  suspend(reason: Error) {
    this.#lane?.close();
    return this.#ingest.suspend(reason);
  }

  written() {
    return this.#ingest.written();
  }

  follow(onClose: () => void) {
    return this.#ingest.follow(onClose);
  }

  visible(): number {
    return this.#ingest.visible();
  }

  close(): void {
    this.#ingest.close();
  }
}
