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

/** Where a walk over candidates has come to. */
export interface Passed {
  readonly worth: number;
  readonly digest: Digest;
}

/** What is found of an image by a manifest of a malicious registry is found piece by piece. */
const MAX_UNIT = 1000;
const MAX_RELATIVES = 100;
/** A layer that so many share is looked at from them: a few milliseconds. */
const MAX_ANCESTORS = 5000;
/** At a time: half a millisecond. */
const MAX_TRIMMED = 200;

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
        `SELECT ${COLUMNS} FROM blobs WHERE parents = 0 AND held = 0 AND (worth, digest) > (?, ?)
         ORDER BY worth, digest LIMIT ?`,
      ),
      victimsOf: database.prepare(
        `SELECT ${COLUMNS} FROM blobs WHERE upstream = ? AND parents = 0 AND held = 0 AND (worth, digest) > (?, ?)
         ORDER BY worth, digest LIMIT ?`,
      ),
      named: database.prepare(
        `SELECT ${COLUMNS} FROM blobs WHERE parents > 0 AND held = 0 AND digest > ? ORDER BY digest LIMIT ?`,
      ),
      raise: database.prepare("UPDATE blobs SET worth = ? WHERE digest = ? AND worth < ?"),
      packSize: database.prepare(
        `SELECT sum(coalesce(b.size, (SELECT max(size) FROM reachable WHERE digest = n.child), 0)) AS bytes
         FROM names n LEFT JOIN blobs b ON b.digest = n.child
         WHERE n.parent = ? AND (b.digest IS NULL OR b.parents < 2)`,
      ),
      ghosts: database.prepare("SELECT count(*) AS count FROM ghosts"),
      trimGhosts: database.prepare(
        "DELETE FROM ghosts WHERE digest IN (SELECT digest FROM ghosts ORDER BY worth LIMIT ?)",
      ),
      children: database.prepare("SELECT child FROM names WHERE parent = ?"),
      parents: database.prepare("SELECT parent FROM names WHERE child = ?"),
      pinned: database.prepare(
        `WITH RECURSIVE up (digest) AS (SELECT ?1 UNION SELECT n.parent FROM up JOIN names n ON n.child = up.digest LIMIT ?2)
         SELECT 1 FROM up CROSS JOIN blobs b ON b.digest = up.digest WHERE b.held <> 0 LIMIT 1`,
      ),
      isNamed: database.prepare("SELECT 1 FROM names WHERE child = ? LIMIT 1"),
      dropNames: database.prepare("DELETE FROM names WHERE parent = ?"),
      dropReachable: database.prepare("DELETE FROM reachable WHERE digest = ?"),
      tagsOf: database.prepare(
        "SELECT r.upstream, r.name, t.tag FROM tags t JOIN repositories r ON r.id = t.repository WHERE t.digest = ?",
      ),
      ghost: database.prepare(
        "INSERT INTO ghosts (digest, worth) VALUES (?, ?) ON CONFLICT DO UPDATE SET worth = excluded.worth",
      ),
      totals: database.prepare("SELECT upstream, blobs, bytes FROM totals ORDER BY upstream"),
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

  /** Of each upstream that something is stored of. */
  totals(): { readonly upstream: string; readonly blobs: number; readonly bytes: number }[] {
    return this.#statements.totals.all().map((row) => ({
      upstream: String(row["upstream"]),
      blobs: Number(row["blobs"]),
      bytes: Number(row["bytes"]),
    }));
  }

  /** Roots that may leave, worth least first. @param from only of that upstream. */
  findVictims(limit: number, options: { readonly after?: Passed; readonly from?: string } = {}): Holding[] {
    const { worth, digest } = options.after ?? { worth: Number.NEGATIVE_INFINITY, digest: "" };
    const rows =
      options.from === undefined
        ? this.#statements.victims.all(worth, digest, limit)
        : this.#statements.victimsOf.all(options.from, worth, digest, limit);
    return rows.map(holdingOf);
  }

  /** What is named by something and held by nobody, by digest. */
  findNamed(after: Digest | "", limit: number): Holding[] {
    return this.#statements.named.all(after, limit).map(holdingOf);
  }

  /**
   * What leaves with this root, itself first: all that nothing else stored names, and nobody holds.
   * @param missing receives what of it is named and not stored.
   * @param most what is worth more stays, with what it names.
   */
  findUnit(root: Digest, missing?: Set<Digest>, most = Number.POSITIVE_INFINITY): Holding[] {
    const first = this.find(root);
    if (first === undefined) return [];
    const unit = new Map<Digest, Holding>([[root, first]]);
    const lost = new Map<Digest, number>();
    for (const { digest } of unit.values()) {
      for (const { child } of this.#statements.children.all(digest)) {
        if (unit.size >= MAX_UNIT) return [...unit.values()];
        const of = String(child) as Digest;
        const row = this.#statements.find.get(of);
        if (row === undefined) {
          missing?.add(of);
          continue;
        }
        const losses = (lost.get(of) ?? 0) + 1;
        lost.set(of, losses);
        if (losses !== row["parents"] || row["held"] !== 0 || Number(row["worth"]) > most) continue;
        if (!unit.has(of)) unit.set(of, holdingOf(row));
      }
    }
    return [...unit.values()];
  }

  /** It is worth more than its row says, for something that leaves with it is. */
  raise(digest: Digest, worth: number): void {
    this.#statements.raise.run(worth, digest, worth);
  }

  /** What names it, and what names that, itself not among them. */
  ancestorsOf(digest: Digest): Set<Digest> {
    const found = new Set<Digest>();
    const open = [digest];
    for (let next = open.pop(); next !== undefined && found.size < MAX_RELATIVES; next = open.pop()) {
      for (const { parent } of this.#statements.parents.all(next)) {
        const of = String(parent) as Digest;
        if (of === digest || found.has(of)) continue;
        found.add(of);
        open.push(of);
      }
    }
    return found;
  }

  /** Whether it is held, or belongs to something that is; stored or not. */
  isPinned(digest: Digest): boolean {
    return this.#statements.pinned.get(digest, MAX_ANCESTORS) !== undefined;
  }

  /** Whether something that may leave, or is held, names it in the end. What none does is named by what it names. */
  hasRoot(digest: Digest): boolean {
    const ancestors = this.ancestorsOf(digest);
    if (ancestors.size >= MAX_RELATIVES) return true;
    return [...ancestors].some((of) => {
      const row = this.#statements.find.get(of);
      return row !== undefined && (row["parents"] === 0 || row["held"] !== 0);
    });
  }

  /**
   * How much comes in with something that is about to be stored: the image that names it, without what that shares with
   * others that are stored; the smallest of them, where there are several. Undefined where nothing names it.
   */
  findPackBytes(digest: Digest): number | undefined {
    const parents = this.#statements.parents.all(digest).slice(0, MAX_RELATIVES);
    const sizes = parents.map(({ parent }) => Number(this.#statements.packSize.get(String(parent))?.["bytes"] ?? 0));
    return sizes.length === 0 ? undefined : Math.min(...sizes);
  }

  /** `repository:tag`, of what is tagged; the first few. */
  namesOf(digest: Digest, limit: number): string[] {
    const rows = this.#statements.tagsOf.all(digest).slice(0, limit);
    return rows.map((row) => `${String(row["upstream"])}/${String(row["name"])}:${String(row["tag"])}`);
  }

  /** Forgets those that were worth least, where there are more than `max`. */
  trimGhosts(max: number): void {
    const excess = Number(this.#statements.ghosts.get()?.["count"] ?? 0) - max;
    if (excess > 0) this.#statements.trimGhosts.run(Math.min(excess, MAX_TRIMMED));
  }

  /**
   * Forgets these in one transaction: their rows, the tags that name them, and the permissions to read them. Files are
   * the caller's to remove, afterwards: a file without its row is found again, a row without its file is dropped.
   * @param remember what they were worth, should they come back.
   */
  remove(digests: readonly Digest[], remember: boolean): void {
    try {
      transaction(this.#database, () => {
        for (const digest of digests) this.#remove(digest, remember);
      });
    } catch (error) {
      this.#inventory.recount();
      throw error;
    }
  }

  /**
   * As `remove`, but of these only what nothing names by then and nobody holds: the order decides, parents
   * come first.
   * @param forced may be named, by what it names itself.
   * @param remember what they were worth, should they come back.
   * @returns what has left.
   */
  evict(digests: readonly Digest[], forced?: Digest, remember = true): Holding[] {
    const gone = new Map<Digest, Holding>();
    const { find, children } = this.#statements;
    const lost = new Map<Digest, number>();
    try {
      transaction(this.#database, () => {
        for (const digest of digests) {
          const row = find.get(digest);
          if (row === undefined || row["held"] !== 0 || gone.has(digest)) continue;
          if (row["parents"] !== (lost.get(digest) ?? 0) && digest !== forced) continue;
          gone.set(digest, holdingOf(row));
          for (const { child } of children.all(digest)) {
            const of = String(child) as Digest;
            lost.set(of, (lost.get(of) ?? 0) + 1);
          }
        }
        // What is named is in no index of candidates: whoever names it goes after it, so that it never gets there.
        for (const digest of [...gone.keys()].reverse()) this.#remove(digest, remember);
      });
    } catch (error) {
      this.#inventory.recount();
      throw error;
    }
    return [...gone.values()];
  }

  #remove(digest: Digest, remember: boolean): void {
    const { find, ghost, children, isNamed, dropNames, dropReachable, tagsOf } = this.#statements;
    const row = find.get(digest);
    if (row !== undefined && remember) ghost.run(digest, Number(row["worth"]));
    const named = children.all(digest).map(({ child }) => String(child) as Digest);
    // What is pinned does not leave: it was lost, and is fetched again under the name it has.
    const isHeld = row !== undefined && row["held"] !== 0;
    if (!isHeld) for (const found of tagsOf.all(digest)) this.#tags.drop(placeOf(found), String(found["tag"]) as Tag);
    this.#inventory.dropManifest(digest);
    this.#inventory.dropBlob(digest);
    dropNames.run(digest);
    if (!isHeld) dropReachable.run(digest);
    for (const child of named) {
      if (find.get(child) === undefined && isNamed.get(child) === undefined) dropReachable.run(child);
    }
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
