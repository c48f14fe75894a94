/**
 * What is on disk of blobs that were not fetched to their end: whose file, and how far it counts.
 *
 * What was written counts as long as the machine has not started anew since, and after that only what was synced. A row
 * may know less than the file holds, never more.
 */
import type { Digest } from "../oci/digest.ts";
import type { Repository } from "../oci/reference.ts";
import { type Database, transaction } from "./database.ts";
import type { Place, Repositories } from "./repositories.ts";

/** A partial file, as it is written down. */
export interface PartialNote {
  readonly digest: Digest;
  readonly file: string;
  /** Where it comes from. */
  readonly place: Place;
  readonly sizeBytes: number;
  readonly writtenBytes: number;
  readonly syncedBytes: number;
}

export interface KeptPartial {
  readonly digest: Digest;
  readonly file: string;
  readonly place: Place;
  readonly sizeBytes: number;
  /** What counts of it. */
  readonly prefixBytes: number;
  readonly notedAt: number;
}

type Row = Readonly<Record<string, unknown>>;

export class Partials {
  readonly #database: Database;
  readonly #repositories: Repositories;
  readonly #boot: string | undefined;
  readonly #find;
  readonly #list;
  readonly #put;
  readonly #drop;

  /** @param boot what tells this start of the machine from every other; undefined where nothing does. */
  constructor(database: Database, repositories: Repositories, boot: string | undefined) {
    this.#database = database;
    this.#repositories = repositories;
    this.#boot = boot;
    const select = `SELECT digest, file, upstream, name, size, written, synced, boot, written_at
      FROM partials JOIN repositories ON id = repository`;
    this.#find = database.prepare(`${select} WHERE digest = ?`);
    this.#list = database.prepare(`${select} ORDER BY written_at`);
    this.#put = database.prepare(
      `INSERT INTO partials (digest, file, repository, size, written, synced, boot, written_at)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?)
       ON CONFLICT DO UPDATE SET repository = excluded.repository, size = excluded.size, written = excluded.written,
         boot = excluded.boot, written_at = excluded.written_at, file = excluded.file,
         synced = CASE file WHEN excluded.file THEN max(synced, excluded.synced) ELSE excluded.synced END`,
    );
    this.#drop = database.prepare("DELETE FROM partials WHERE digest = ? AND file = ?");
  }

  find(digest: Digest): KeptPartial | undefined {
    const row = this.#find.get(digest);
    return row === undefined ? undefined : this.#read(row);
  }

  /** The oldest first. */
  list(): KeptPartial[] {
    return this.#list.all().map((row) => this.#read(row));
  }

  /** All or none of them. */
  put(notes: readonly PartialNote[], at: number): void {
    transaction(this.#database, () => {
      for (const { digest, file, place, sizeBytes, writtenBytes, syncedBytes } of notes) {
        const repository = this.#repositories.idOf(place);
        this.#put.run(digest, file, repository, sizeBytes, writtenBytes, syncedBytes, this.#boot ?? "", at);
      }
    });
  }

  /** Nothing happens where another file of the digest is noted by now. */
  drop(digest: Digest, file: string): void {
    this.#drop.run(digest, file);
  }

  #read(row: Row): KeptPartial {
    const sameBoot = this.#boot !== undefined && row["boot"] === this.#boot;
    return {
      digest: String(row["digest"]) as Digest,
      file: String(row["file"]),
      place: { upstream: String(row["upstream"]), repository: String(row["name"]) as Repository },
      sizeBytes: Number(row["size"]),
      prefixBytes: Number(sameBoot ? row["written"] : row["synced"]),
      notedAt: Number(row["written_at"]),
    };
  }
}
