/**
 * What is stored as a graph: what names what, what leaves together, and what is worth least.
 *
 * A root is what no stored manifest names. It leaves with all that nobody else names; what is held (pinned) never
 * leaves, and neither does what a held manifest names.
 */
import type { Digest } from "../oci/digest.ts";
import type { Tag } from "../oci/reference.ts";
import { type Database, transaction } from "./database.ts";
import type { Inventory } from "./inventory.ts";
import type { Place, Repositories } from "./repositories.ts";
import type { Tags } from "./tags.ts";

/** One stored blob or manifest. */
export interface Holding {
  readonly digest: Digest;
  readonly sizeBytes: number;
  /** Where its bytes came from; "" where that is not known. */
  readonly upstream: string;
  /** See `worth.ts`. */
  readonly worth: number;
  /** Epoch milliseconds. */
  readonly lastUsedAt: number;
  readonly hits: number;
}

const COLUMNS = "digest, size, upstream, worth, last_used, hits";

export class Holdings {
  readonly #database: Database;
  readonly #inventory: Inventory;
  readonly #tags: Tags;
  readonly #statements;

  constructor(database: Database, parts: { inventory: Inventory; tags: Tags; repositories: Repositories }) {
    this.#database = database;
    this.#inventory = parts.inventory;
    this.#tags = parts.tags;
    this.#statements = {
      find: database.prepare(`SELECT ${COLUMNS}, parents, held FROM blobs WHERE digest = ?`),
      victims: database.prepare(
        `SELECT ${COLUMNS} FROM blobs WHERE parents = 0 AND held = 0 AND worth > ? ORDER BY worth LIMIT ?`,
      ),
      victimsOf: database.prepare(
        `SELECT ${COLUMNS} FROM blobs WHERE upstream = ? AND parents = 0 AND held = 0 AND worth > ? ORDER BY worth LIMIT ?`,
      ),
      children: database.prepare("SELECT child FROM names WHERE parent = ?"),
      parents: database.prepare("SELECT parent FROM names WHERE child = ?"),
      isNamed: database.prepare("SELECT 1 FROM names WHERE child = ? LIMIT 1"),
      dropNames: database.prepare("DELETE FROM names WHERE parent = ?"),
      dropReachable: database.prepare("DELETE FROM reachable WHERE digest = ?"),
      tagsOf: database.prepare(
        "SELECT r.upstream, r.name, t.tag FROM tags t JOIN repositories r ON r.id = t.repository WHERE t.digest = ?",
      ),
      ghost: database.prepare(
        "INSERT INTO ghosts (digest, worth) VALUES (?, ?) ON CONFLICT DO UPDATE SET worth = excluded.worth",
      ),
      totalsOf: database.prepare("SELECT blobs, bytes FROM totals WHERE upstream = ?"),
    };
  }

  find(digest: Digest): Holding | undefined {
    const row = this.#statements.find.get(digest);
    return row === undefined ? undefined : holdingOf(row);
  }

  bytesOf(upstream: string): number {
    return Number(this.#statements.totalsOf.get(upstream)?.["bytes"] ?? 0);
  }

  /** Roots that may leave, worth least first. @param from only of that upstream. */
  findVictims(limit: number, options: { readonly above?: number; readonly from?: string } = {}): Holding[] {
    const above = options.above ?? Number.NEGATIVE_INFINITY;
    const rows =
      options.from === undefined
        ? this.#statements.victims.all(above, limit)
        : this.#statements.victimsOf.all(options.from, above, limit);
    return rows.map(holdingOf);
  }

  /** What leaves with this root, itself first: all that nothing else stored names, and nobody holds. */
  findUnit(root: Digest): Holding[] {
    const first = this.find(root);
    if (first === undefined) return [];
    const unit = [first];
    const lost = new Map<Digest, number>();
    for (const { digest } of unit) {
      for (const { child } of this.#statements.children.all(digest)) {
        const of = String(child) as Digest;
        const row = this.#statements.find.get(of);
        if (row === undefined) continue;
        const losses = (lost.get(of) ?? 0) + 1;
        lost.set(of, losses);
        if (losses === Number(row["parents"]) && row["held"] === 0) unit.push(holdingOf(row));
      }
    }
    return unit;
  }

  /**
   * Forgets these in one transaction: their rows, the tags that name them, and the permissions to read them. Files are
   * the caller's to remove, afterwards: a file without its row is found again, a row without its file is dropped.
   * @param remember what they were worth, should they come back.
   */
  remove(digests: readonly Digest[], remember: boolean): void {
    transaction(this.#database, () => {
      for (const digest of digests) this.#remove(digest, remember);
    });
  }

  #remove(digest: Digest, remember: boolean): void {
    const { find, ghost, children, isNamed, dropNames, dropReachable, tagsOf } = this.#statements;
    const row = find.get(digest);
    if (row !== undefined && remember) ghost.run(digest, Number(row["worth"]));
    const named = children.all(digest).map(({ child }) => String(child) as Digest);
    for (const found of tagsOf.all(digest)) this.#tags.drop(placeOf(found), String(found["tag"]) as Tag);
    dropNames.run(digest);
    dropReachable.run(digest);
    for (const child of named) {
      if (find.get(child) === undefined && isNamed.get(child) === undefined) dropReachable.run(child);
    }
    this.#inventory.dropManifest(digest);
    this.#inventory.dropBlob(digest);
  }
}

type Row = Readonly<Record<string, unknown>>;

function holdingOf(row: Row): Holding {
  return {
    digest: String(row["digest"]) as Digest,
    sizeBytes: Number(row["size"]),
    upstream: String(row["upstream"]),
    worth: Number(row["worth"]),
    lastUsedAt: Number(row["last_used"]),
    hits: Number(row["hits"]),
  };
}

function placeOf(row: Row): Place {
  return { upstream: String(row["upstream"]), repository: String(row["name"]) as Place["repository"] };
}
