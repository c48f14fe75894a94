/**
 * Permission: which digests may be read in which repository.
 *
 * A digest is reachable in a repository when a manifest that the upstream served from that repository names it, or when
 * the upstream confirmed it there. Knowing a digest, or having its bytes from elsewhere, is no permission.
 */
import type { Digest } from "../oci/digest.ts";
import { type Database, transaction } from "./database.ts";
import type { Place, Repositories } from "./repositories.ts";

export interface Reachable {
  readonly digest: Digest;
  /** As its descriptor says, -1 where nobody said. A hint, not a fact. */
  readonly sizeBytes: number;
}

export class Graph {
  readonly #database: Database;
  readonly #repositories: Repositories;
  readonly #find;
  readonly #put;

  constructor(database: Database, repositories: Repositories) {
    this.#database = database;
    this.#repositories = repositories;
    this.#find = database.prepare("SELECT size FROM reachable WHERE repository = ? AND digest = ?");
    this.#put = database.prepare(
      "INSERT INTO reachable (repository, digest, size) VALUES (?, ?, ?) " +
        "ON CONFLICT DO UPDATE SET size = excluded.size WHERE size < 0 AND excluded.size >= 0",
    );
  }

  findReachable(place: Place, digest: Digest): Reachable | undefined {
    const id = this.#repositories.findId(place);
    if (id === undefined) return undefined;
    const row = this.#find.get(id, digest);
    return row === undefined ? undefined : { digest, sizeBytes: Number(row["size"]) };
  }

  /** Records, in one transaction, that these may be read in this repository. */
  link(place: Place, entries: Iterable<Reachable>): void {
    transaction(this.#database, () => {
      const id = this.#repositories.idOf(place);
      for (const { digest, sizeBytes } of entries) this.#put.run(id, digest, sizeBytes);
    });
  }
}
