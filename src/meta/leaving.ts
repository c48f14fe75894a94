/**
 * What stands in the way of an image that is to be purged, and what goes with it: tags and repositories that need its
 * content too, permissions that hang on it alone, and stored blobs that no image is left of. A few rows at a time.
 */
import type { Digest } from "../oci/digest.ts";
import type { Database } from "./database.ts";

export interface LooseBlob {
  readonly digest: Digest;
  readonly sizeBytes: number;
  readonly upstream: string;
  readonly lastUsedAt: number;
}

const MAX_TREE = 20_000;

export class Leaving {
  readonly #statements;

  constructor(database: Database) {
    this.#statements = {
      tagged: database.prepare("SELECT 1 FROM tags WHERE digest = ? LIMIT 1"),
      taggedElsewhere: database.prepare("SELECT 1 FROM tags WHERE digest = ? AND repository <> ? LIMIT 1"),
      servedElsewhere: database.prepare(
        "SELECT 1 FROM reachable WHERE digest = ? AND repository <> ? AND confirmed = 1 LIMIT 1",
      ),
      tree: database.prepare(
        `WITH RECURSIVE tree (digest) AS (SELECT ?1 UNION SELECT n.child FROM tree JOIN names n ON n.parent = tree.digest LIMIT ?2)
         SELECT digest FROM tree`,
      ),
      named: database.prepare("SELECT 1 FROM names WHERE child = ? LIMIT 1"),
      taggedIn: database.prepare("SELECT 1 FROM tags WHERE digest = ? AND repository = ? LIMIT 1"),
      namedIn: database.prepare(
        `SELECT 1 FROM names n JOIN reachable r ON r.repository = ?2 AND r.digest = n.parent
         JOIN manifests m ON m.digest = n.parent WHERE n.child = ?1 LIMIT 1`,
      ),
      dropPermission: database.prepare("DELETE FROM reachable WHERE repository = ? AND digest = ?"),
      loose: database.prepare(
        `SELECT b.digest, b.size, b.upstream, b.last_used, b.parents, b.held, m.digest AS manifest
         FROM blobs b LEFT JOIN manifests m ON m.digest = b.digest WHERE b.digest > ? ORDER BY b.digest LIMIT ?`,
      ),
    };
  }

  isTagged(digest: Digest): boolean {
    return this.#statements.tagged.get(digest) !== undefined;
  }

  isTaggedIn(repositoryId: number, digest: Digest): boolean {
    return this.#statements.taggedIn.get(digest, repositoryId) !== undefined;
  }

  /** Some manifest names it, of whatever repository. */
  isNamed(digest: Digest): boolean {
    return this.#statements.named.get(digest) !== undefined;
  }

  /** Another repository has a tag for it, or was served it by its upstream. */
  isNeededBeside(digest: Digest, repositoryId: number): boolean {
    const { taggedElsewhere, servedElsewhere } = this.#statements;
    return (
      taggedElsewhere.get(digest, repositoryId) !== undefined || servedElsewhere.get(digest, repositoryId) !== undefined
    );
  }

  /** It and all below it, what names before what is named. */
  treeOf(digest: Digest): Digest[] {
    return this.#statements.tree.all(digest, MAX_TREE).map((row) => String(row["digest"]) as Digest);
  }

  /** A stored manifest that this repository may read names it. */
  isNamedIn(repositoryId: number, digest: Digest): boolean {
    return this.#statements.namedIn.get(digest, repositoryId) !== undefined;
  }

  dropPermission(repositoryId: number, digest: Digest): void {
    this.#statements.dropPermission.run(repositoryId, digest);
  }

  /** Blobs that nothing names, and that are no images themselves. @param rows how many are looked at. */
  looseAfter(after: string, rows: number): { readonly blobs: LooseBlob[]; readonly last: string | undefined } {
    const found = this.#statements.loose.all(after, rows);
    const blobs = found
      .filter((row) => row["parents"] === 0 && row["held"] === 0 && row["manifest"] === null)
      .map((row) => ({
        digest: String(row["digest"]) as Digest,
        sizeBytes: Number(row["size"]),
        upstream: String(row["upstream"]),
        lastUsedAt: Number(row["last_used"]),
      }));
    return { blobs, last: found.length < rows ? undefined : String(found.at(-1)?.["digest"]) };
  }
}
