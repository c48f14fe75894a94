/**
 * Permission: which digests may be read in which repository.
 *
 * A digest is reachable in a repository when a manifest that the upstream served from that repository names it, or when
 * the upstream confirmed it there. Knowing a digest, or having its bytes from elsewhere, is no permission; and being
 * named is none for bytes that came from another upstream, because anyone can name anything in a registry of their own.
 */
import type { Digest } from "../oci/digest.ts";
import { type Database, transaction } from "./database.ts";
import type { Place, Repositories } from "./repositories.ts";

export interface Reachable {
  readonly digest: Digest;
  /** As its descriptor says, -1 where nobody said. A hint, not a fact. */
  readonly sizeBytes: number;
  /** True where the upstream itself said that the repository has it, false where a manifest names it. */
  readonly confirmed: boolean;
}

/** That a repository may read something. */
export interface Permission {
  readonly repositoryId: number;
  readonly digest: Digest;
}

const IDLE = ["blobs WHERE digest", "partials WHERE digest", "tags WHERE digest", "names WHERE child"]
  .map((where) => `NOT EXISTS (SELECT 1 FROM ${where} = reachable.digest)`)
  .join(" AND ");

export class Graph {
  readonly #database: Database;
  readonly #repositories: Repositories;
  readonly #find;
  readonly #put;
  readonly #idle;
  readonly #dropIdle;

  constructor(database: Database, repositories: Repositories) {
    this.#database = database;
    this.#repositories = repositories;
    this.#find = database.prepare("SELECT size, confirmed FROM reachable WHERE repository = ? AND digest = ?");
    this.#put = database.prepare(
      "INSERT INTO reachable (repository, digest, size, confirmed) VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET " +
        "size = CASE WHEN size < 0 THEN excluded.size ELSE size END, confirmed = max(confirmed, excluded.confirmed) " +
        "WHERE (size < 0 AND excluded.size >= 0) OR excluded.confirmed > confirmed",
    );
    this.#idle = database.prepare(
      `SELECT repository, digest, ${IDLE} AS idle FROM reachable WHERE (repository, digest) > (?, ?)
       ORDER BY repository, digest LIMIT ?`,
    );
    this.#dropIdle = database.prepare(`DELETE FROM reachable WHERE repository = ? AND digest = ? AND ${IDLE}`);
  }

  /**
   * Permissions to read what is neither stored, nor on its way here, nor named by anything here: whoever asks for it has
   * its upstream asked anyway.
   * @param rows how many permissions are looked at.
   */
  idleAfter(after: Permission | undefined, rows: number): { readonly idle: Permission[]; readonly last?: Permission } {
    const found = this.#idle.all(after?.repositoryId ?? -1, after?.digest ?? "", rows);
    const permissions = found.map((row) => ({
      permission: { repositoryId: Number(row["repository"]), digest: String(row["digest"]) as Digest },
      isIdle: row["idle"] === 1,
    }));
    const idle = permissions.filter(({ isIdle }) => isIdle).map(({ permission }) => permission);
    const last = permissions.at(-1)?.permission;
    return found.length < rows || last === undefined ? { idle } : { idle, last };
  }

  /** Those of them that are idle still. */
  dropIdle(permissions: readonly Permission[]): void {
    transaction(this.#database, () => {
      for (const { repositoryId, digest } of permissions) this.#dropIdle.run(repositoryId, digest);
    });
  }

  findReachable(place: Place, digest: Digest): Reachable | undefined {
    const id = this.#repositories.findId(place);
    if (id === undefined) return undefined;
    const row = this.#find.get(id, digest);
    if (row === undefined) return undefined;
    return { digest, sizeBytes: Number(row["size"]), confirmed: row["confirmed"] === 1 };
  }

  /** Records, in one transaction, that these may be read in this repository. */
  link(place: Place, entries: Iterable<Reachable>): void {
    transaction(this.#database, () => {
      const id = this.#repositories.idOf(place);
      for (const { digest, sizeBytes, confirmed } of entries) this.#put.run(id, digest, sizeBytes, confirmed ? 1 : 0);
    });
  }
}
