/**
 * The index of what is stored: every blob with its size, every manifest with its media type, and running totals.
 *
 * Files are the truth. A row without its file is dropped when that is noticed; a file without a row is found by opening it.
 */
import type { Digest } from "../oci/digest.ts";
import { type Database, transaction } from "./database.ts";
import { worthAfter } from "./worth.ts";

/** A document's place in the graph of what names what. */
export interface Naming {
  /** What it names: manifests, configuration and layers. */
  readonly children: readonly Digest[];
  /** What it is about; it leaves with that. */
  readonly subject: Digest | undefined;
}

export class Inventory {
  readonly #database: Database;
  readonly #size;
  readonly #put;
  readonly #drop;
  readonly #mediaType;
  readonly #putMediaType;
  readonly #putName;
  readonly #dropManifest;
  readonly #ghost;
  readonly #totals;
  readonly #correct;
  readonly #sizesAfter;
  readonly #unlinkedAfter;
  readonly #dropNames;
  readonly #dateOf: ((at: number) => number) | undefined;
  #blobs = 0;
  #bytes = 0;

  /**
   * @param counting false for one who only looks up: totals stay 0 then.
   * @param dateOf a moment by the clock of uses (`usage.ts`), which is what a first use is dated by.
   */
  constructor(database: Database, counting = true, dateOf?: (at: number) => number) {
    this.#database = database;
    this.#dateOf = dateOf;
    this.#size = database.prepare("SELECT size, upstream FROM blobs WHERE digest = ?");
    this.#put = database.prepare(
      `INSERT INTO blobs (digest, size, upstream, stored_at, last_used, worth, verified_at) VALUES (?, ?, ?, ?4, ?4, ?5, ?4)
       ON CONFLICT DO UPDATE SET upstream = excluded.upstream, stored_at = excluded.stored_at
       WHERE blobs.upstream = '' AND excluded.upstream <> ''`,
    );
    this.#drop = database.prepare("DELETE FROM blobs WHERE digest = ?");
    this.#mediaType = database.prepare("SELECT media_type FROM manifests WHERE digest = ?");
    this.#putMediaType = database.prepare(
      "INSERT INTO manifests (digest, media_type, linked) VALUES (?, ?, 1) ON CONFLICT DO UPDATE SET linked = 1",
    );
    this.#putName = database.prepare("INSERT INTO names (parent, child) VALUES (?, ?) ON CONFLICT DO NOTHING");
    this.#dropManifest = database.prepare("DELETE FROM manifests WHERE digest = ?");
    this.#dropNames = database.prepare("DELETE FROM names WHERE parent = ?");
    this.#ghost = database.prepare("SELECT worth FROM ghosts WHERE digest = ?");
    this.#totals = database.prepare("SELECT upstream, blobs, bytes FROM totals");
    this.#correct = database.prepare("UPDATE blobs SET size = ? WHERE digest = ?");
    this.#sizesAfter = database.prepare(
      "SELECT digest, size FROM blobs WHERE digest > ? AND digest < ? ORDER BY digest LIMIT ?",
    );
    this.#unlinkedAfter = database.prepare(
      "SELECT digest, media_type FROM manifests WHERE linked = 0 AND digest > ? ORDER BY digest LIMIT ?",
    );
    if (counting) this.recount();
  }

  get blobs(): number {
    return this.#blobs;
  }

  get bytes(): number {
    return this.#bytes;
  }

  findSize(digest: Digest): number | undefined {
    const row = this.#size.get(digest);
    const size = Number(row?.["size"]);
    // What flipped bits made of a size would spoil every sum.
    return Number.isSafeInteger(size) && size >= 0 ? size : undefined;
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
    const ghost = Number(this.#ghost.get(digest)?.["worth"] ?? Number.NEGATIVE_INFINITY);
    const usedAt = this.#dateOf?.(storedAt) ?? storedAt;
    this.#put.run(digest, sizeBytes, upstream, storedAt, worthAfter(ghost, usedAt, 1));
    if (isKnown) return;
    this.#blobs += 1;
    this.#bytes += sizeBytes;
  }

  /** As `addBlob` for each, all of them or none. */
  addBlobs(blobs: readonly { digest: Digest; sizeBytes: number; upstream: string; storedAt: number }[]): void {
    try {
      transaction(this.#database, () => {
        for (const { digest, sizeBytes, upstream, storedAt } of blobs)
          this.addBlob(digest, sizeBytes, upstream, storedAt);
      });
    } catch (error) {
      this.recount();
      throw error;
    }
  }

  /** The row was wrong, and its file right. */
  correctSize(digest: Digest, sizeBytes: number): void {
    this.#correct.run(sizeBytes, digest);
    this.recount();
  }

  /** Sizes of what is stored with a digest after `after` and before `before`, in the order of digests. */
  sizesBetween(after: string, before: string, limit: number): { digest: Digest; sizeBytes: number }[] {
    return this.#sizesAfter
      .all(after, before, limit)
      .map((row) => ({ digest: String(row["digest"]) as Digest, sizeBytes: Number(row["size"]) }));
  }

  dropBlob(digest: Digest): void {
    const size = this.findSize(digest);
    if (size === undefined) return;
    this.#drop.run(digest);
    // What is not stored names nothing; but of what is pinned the edges stay, which the row's going decides.
    this.#dropNames.run(digest);
    this.#blobs -= 1;
    this.#bytes -= size;
  }

  /** Counts anew, after a transaction was undone that this was part of. */
  recount(): void {
    const totals = this.#totals.all();
    this.#blobs = totals.reduce((sum, row) => sum + Number(row["blobs"]), 0);
    this.#bytes = totals.reduce((sum, row) => sum + Number(row["bytes"]), 0);
  }

  /** The type that was decided when the manifest was stored; undefined for what is no known manifest. */
  findMediaType(digest: Digest): string | undefined {
    const row = this.#mediaType.get(digest);
    return row === undefined ? undefined : String(row["media_type"]);
  }

  addManifest(digest: Digest, mediaType: string, { children, subject }: Naming): void {
    transaction(this.#database, () => {
      this.#putMediaType.run(digest, mediaType);
      for (const child of children) if (child !== digest) this.#putName.run(digest, child);
      // What is about something of its own would hold itself, and what is not stored holds nothing.
      if (subject === undefined || subject === digest || children.includes(subject)) return;
      if (this.findSize(subject) !== undefined) this.#putName.run(subject, digest);
    });
  }

  /** Manifests of an index that did not know yet what they name, in the order of digests. */
  findUnlinked(after: string, limit: number): { digest: Digest; mediaType: string }[] {
    return this.#unlinkedAfter
      .all(after, limit)
      .map((row) => ({ digest: String(row["digest"]) as Digest, mediaType: String(row["media_type"]) }));
  }

  dropManifest(digest: Digest): void {
    this.#dropManifest.run(digest);
  }
}
