/**
 * Looks at the index as people think of it: images, each a stored manifest in a repository, with the tags it has there.
 * Reads only, a bounded number of rows at a time.
 *
 * What is tagged is an image; so is what the repository's upstream served by digest and nothing else stored names.
 */
import type { Digest } from "../oci/digest.ts";
import type { Tag } from "../oci/reference.ts";
import type { Database } from "./database.ts";
import type { Place } from "./repositories.ts";

export interface ImageRow {
  readonly place: Place;
  readonly repositoryId: number;
  readonly digest: Digest;
  readonly mediaType: string;
  /** The first of its tags in this repository. */
  readonly tag: Tag | undefined;
  readonly storedAt: number;
  readonly lastUsedAt: number;
  readonly hits: number;
  /** Nothing stored names it. */
  readonly isRoot: boolean;
  /** It is pinned, in this repository or another. */
  readonly isHeld: boolean;
}

export interface TagRow {
  readonly tag: Tag;
  readonly checkedAt: number;
}

export interface RepositoryRow {
  readonly id: number;
  readonly place: Place;
}

/** Rows that were looked at, images or not: whoever goes on begins after `last`. */
export interface Slice {
  readonly images: readonly ImageRow[];
  /** Undefined: there is nothing after these. */
  readonly last: string | undefined;
}

const COLUMNS = "b.size, b.stored_at, b.last_used, b.hits, b.parents, b.held, m.media_type";

export class Images {
  readonly #statements;

  constructor(database: Database) {
    this.#statements = {
      repositories: database.prepare(
        `SELECT id, upstream, name FROM repositories WHERE (upstream, name) > (?, ?) ORDER BY upstream, name LIMIT ?`,
      ),
      repository: database.prepare("SELECT id FROM repositories WHERE upstream = ? AND name = ?"),
      tagged: database.prepare(
        `SELECT t.tag, t.digest, ${COLUMNS},
           NOT EXISTS (SELECT 1 FROM tags o WHERE o.digest = t.digest AND o.repository = t.repository AND o.tag < t.tag) AS first
         FROM tags t LEFT JOIN blobs b ON b.digest = t.digest LEFT JOIN manifests m ON m.digest = t.digest
         WHERE t.repository = ? AND t.tag > ? ORDER BY t.tag LIMIT ?`,
      ),
      untagged: database.prepare(
        `SELECT r.digest, r.confirmed, ${COLUMNS},
           EXISTS (SELECT 1 FROM tags o WHERE o.digest = r.digest AND o.repository = r.repository) AS tagged
         FROM reachable r LEFT JOIN manifests m ON m.digest = r.digest LEFT JOIN blobs b ON b.digest = r.digest
         WHERE r.repository = ? AND r.digest > ? ORDER BY r.digest LIMIT ?`,
      ),
      tagsOf: database.prepare(
        "SELECT tag, checked_at FROM tags WHERE digest = ? AND repository = ? ORDER BY tag LIMIT ?",
      ),
      tree: database.prepare(
        `WITH RECURSIVE tree (digest) AS (SELECT ?1 UNION SELECT n.child FROM tree JOIN names n ON n.parent = tree.digest LIMIT ?2)
         SELECT sum(b.size) AS bytes, count(*) AS blobs FROM tree CROSS JOIN blobs b ON b.digest = tree.digest`,
      ),
      missing: database.prepare(
        `WITH RECURSIVE tree (digest) AS (SELECT ?1 UNION SELECT n.child FROM tree JOIN names n ON n.parent = tree.digest LIMIT ?2)
         SELECT count(*) AS count FROM tree WHERE NOT EXISTS (SELECT 1 FROM blobs b WHERE b.digest = tree.digest)`,
      ),
      ancestors: database.prepare(
        `WITH RECURSIVE up (digest) AS (SELECT ?1 UNION SELECT n.parent FROM up JOIN names n ON n.child = up.digest LIMIT ?2)
         SELECT r.upstream, r.name, t.tag, t.digest FROM up CROSS JOIN tags t ON t.digest = up.digest CROSS JOIN repositories r ON r.id = t.repository LIMIT ?3`,
      ),
      stored: database.prepare(
        `SELECT b.digest, ${COLUMNS} FROM blobs b JOIN manifests m ON m.digest = b.digest WHERE b.digest = ?`,
      ),
      held: database.prepare("SELECT held FROM blobs WHERE digest = ?"),
      readable: database.prepare("SELECT 1 FROM reachable WHERE repository = ? AND digest = ?"),
    };
  }

  /** In the order of their names. */
  repositoriesAfter(after: { readonly upstream: string; readonly repository: string }, limit: number): RepositoryRow[] {
    return this.#statements.repositories
      .all(after.upstream, after.repository, limit)
      .map((row) => ({ id: Number(row["id"]), place: placeOf(row) }));
  }

  hasUpstream(upstream: string): boolean {
    return this.repositoriesAfter({ upstream, repository: "" }, 1)[0]?.place.upstream === upstream;
  }

  findRepository(place: Place): RepositoryRow | undefined {
    const row = this.#statements.repository.get(place.upstream, place.repository);
    return row === undefined ? undefined : { id: Number(row["id"]), place };
  }

  /** In the order of tags, each image at the first of its own. @param rows how many are looked at. */
  taggedAfter({ id, place }: RepositoryRow, tag: string, rows: number): Slice {
    const found = this.#statements.tagged.all(id, tag, rows);
    const images = found
      .filter((row) => row["first"] === 1 && isStored(row))
      .map((row) => imageOf(row, id, place, String(row["tag"]) as Tag));
    return { images, last: found.length < rows ? undefined : String(found.at(-1)?.["tag"]) };
  }

  /** In the order of digests. @param rows how many are looked at. */
  untaggedAfter({ id, place }: RepositoryRow, digest: string, rows: number): Slice {
    const found = this.#statements.untagged.all(id, digest, rows);
    const images = found
      .filter((row) => row["tagged"] === 0 && row["confirmed"] === 1 && isStored(row) && row["parents"] === 0)
      .map((row) => imageOf(row, id, place, undefined));
    return { images, last: found.length < rows ? undefined : String(found.at(-1)?.["digest"]) };
  }

  /** A stored manifest as an image of a repository. */
  find({ id, place }: RepositoryRow, digest: Digest): ImageRow | undefined {
    const row = this.#statements.stored.get(digest);
    return row === undefined ? undefined : imageOf(row, id, place, this.tagsOf(id, digest, 1)[0]?.tag);
  }

  tagsOf(repositoryId: number, digest: Digest, limit: number): TagRow[] {
    return this.#statements.tagsOf
      .all(digest, repositoryId, limit)
      .map((row) => ({ tag: String(row["tag"]) as Tag, checkedAt: Number(row["checked_at"]) }));
  }

  /** What is stored of it, with all below it and all about it. */
  sizeOf(digest: Digest): { readonly bytes: number; readonly blobs: number } {
    const row = this.#statements.tree.get(digest, MAX_TREE);
    return { bytes: Number(row?.["bytes"] ?? 0), blobs: Number(row?.["blobs"] ?? 0) };
  }

  /** How many are not stored of it and of what it names, from near or far. */
  missingOf(digest: Digest): number {
    return Number(this.#statements.missing.get(digest, MAX_TREE)?.["count"] ?? 0);
  }

  /** Tags of what names it, from near or far, and its own. */
  usersOf(digest: Digest, limit: number): { readonly place: Place; readonly tag: Tag; readonly digest: Digest }[] {
    return this.#statements.ancestors.all(digest, MAX_ANCESTORS, limit).map((row) => ({
      place: placeOf(row),
      tag: String(row["tag"]) as Tag,
      digest: String(row["digest"]) as Digest,
    }));
  }

  isHeld(digest: Digest): boolean {
    return Number(this.#statements.held.get(digest)?.["held"] ?? 0) > 0;
  }

  isReadable(repositoryId: number, digest: Digest): boolean {
    return this.#statements.readable.get(repositoryId, digest) !== undefined;
  }
}

const MAX_TREE = 20_000;
const MAX_ANCESTORS = 500;

type Row = Readonly<Record<string, unknown>>;

function isStored(row: Row): boolean {
  return row["size"] !== null && row["media_type"] !== null;
}

function imageOf(row: Row, repositoryId: number, place: Place, tag: Tag | undefined): ImageRow {
  return {
    ...{ place, repositoryId, tag },
    digest: String(row["digest"]) as Digest,
    mediaType: String(row["media_type"]),
    storedAt: Number(row["stored_at"]),
    lastUsedAt: Number(row["last_used"]),
    hits: Number(row["hits"]),
    isRoot: row["parents"] === 0,
    isHeld: Number(row["held"]) > 0,
  };
}

function placeOf(row: Row): Place {
  return { upstream: String(row["upstream"]), repository: String(row["name"]) as Place["repository"] };
}
