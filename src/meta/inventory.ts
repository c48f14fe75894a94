/**
 * The index of what is stored: every blob with its size, every manifest with its media type, and running totals.
 *
 * Files are the truth. A row without its file is dropped when that is noticed; a file without a row is found by opening it.
 */
import type { Digest } from "../oci/digest.ts";
import type { Database } from "./database.ts";

export class Inventory {
  readonly #size;
  readonly #put;
  readonly #drop;
  readonly #mediaType;
  readonly #putMediaType;
  #blobs: number;
  #bytes: number;

  /** @param counting false for one who only looks up: totals stay 0 then. */
  constructor(database: Database, counting = true) {
    this.#size = database.prepare("SELECT size, upstream FROM blobs WHERE digest = ?");
    this.#put = database.prepare(
      `INSERT INTO blobs (digest, size, upstream, stored_at) VALUES (?, ?, ?, ?)
       ON CONFLICT DO UPDATE SET upstream = excluded.upstream, stored_at = excluded.stored_at
       WHERE blobs.upstream = '' AND excluded.upstream <> ''`,
    );
    this.#drop = database.prepare("DELETE FROM blobs WHERE digest = ?");
    this.#mediaType = database.prepare("SELECT media_type FROM manifests WHERE digest = ?");
    this.#putMediaType = database.prepare(
      "INSERT INTO manifests (digest, media_type) VALUES (?, ?) ON CONFLICT DO NOTHING",
    );
    // The only full scan, once at start-up; from here on the totals run along.
    const row = counting
      ? database.prepare("SELECT count(*) AS blobs, coalesce(sum(size), 0) AS bytes FROM blobs").get()
      : undefined;
    this.#blobs = Number(row?.["blobs"] ?? 0);
    this.#bytes = Number(row?.["bytes"] ?? 0);
  }

  get blobs(): number {
    return this.#blobs;
  }

  get bytes(): number {
    return this.#bytes;
  }

  findSize(digest: Digest): number | undefined {
    const row = this.#size.get(digest);
    return row === undefined ? undefined : Number(row["size"]);
  }

  /** The upstream that the bytes came from; undefined where that is not known. */
  findUpstream(digest: Digest): string | undefined {
    const row = this.#size.get(digest);
    return row === undefined || row["upstream"] === "" ? undefined : String(row["upstream"]);
  }

  /**
   * A blob may be found by its name just before whoever stored it counts it: that tells where it is from all the same.
   * @param upstream where the bytes came from, "" where that is not known.
   */
  addBlob(digest: Digest, sizeBytes: number, upstream: string, storedAt: number): void {
    const isKnown = this.findSize(digest) !== undefined;
    this.#put.run(digest, sizeBytes, upstream, storedAt);
    if (isKnown) return;
    this.#blobs += 1;
    this.#bytes += sizeBytes;
  }

  dropBlob(digest: Digest): void {
    const size = this.findSize(digest);
    if (size === undefined) return;
    this.#drop.run(digest);
    this.#blobs -= 1;
    this.#bytes -= size;
  }

  /** The type that was decided when the manifest was stored; undefined for what is no known manifest. */
  findMediaType(digest: Digest): string | undefined {
    const row = this.#mediaType.get(digest);
    return row === undefined ? undefined : String(row["media_type"]);
  }

  addManifest(digest: Digest, mediaType: string): void {
    this.#putMediaType.run(digest, mediaType);
  }
}
