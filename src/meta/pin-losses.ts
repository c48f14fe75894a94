/**
 * Documents of pinned images that have lost their file, or were found damaged: until they are fetched again, or nobody
 * pins what they belong to, their edges stay, and what they name is held in their stead.
 *
 * Triggers keep it so, whoever drops the row and whoever stores it anew. The facts outlive the process; what is held for
 * them stands among the holds of pins, under a repository that there is none of.
 */
import type { Digest } from "../oci/digest.ts";
import { type Database, transaction } from "./database.ts";

/** How deep below what is pinned a document may lie: an index in an index, its manifests, what is about those. */
const DEPTH = 3;

const ANCESTOR_IS_HELD = Array.from({ length: DEPTH }, (_, above) => {
  const steps = Array.from({ length: above }, (_, at) => `JOIN names n${at + 1} ON n${at + 1}.child = n${at}.parent`);
  const top = `n${above}.parent`;
  return `OR EXISTS (
    SELECT 1 FROM names n0 ${steps.join(" ")} LEFT JOIN blobs p ON p.digest = ${top}
    WHERE n0.child = OLD.digest
      AND (p.held > 0 OR EXISTS (SELECT 1 FROM facts WHERE name = 'lost ' || ${top})))`;
}).join("\n");

/** Between the making of the holds and their count. */
export const LOST_HOLDS = `
  DELETE FROM facts WHERE name > 'lost ' AND name < 'lost!' AND substr(name, 6) IN (SELECT digest FROM blobs);
  INSERT OR IGNORE INTO holds
    SELECT 0, n.parent || ' ' || n.child, n.child FROM facts f JOIN names n ON n.parent = substr(f.name, 6)
    WHERE f.name > 'lost ' AND f.name < 'lost!';
`;

export const LOSS_TRIGGERS = `
  CREATE TEMP TRIGGER pins_lost AFTER DELETE ON main.blobs
    WHEN EXISTS (SELECT 1 FROM names WHERE parent = OLD.digest) AND (OLD.held > 0 ${ANCESTOR_IS_HELD})
  BEGIN
    INSERT OR IGNORE INTO facts VALUES ('lost ' || OLD.digest, '1');
    INSERT OR IGNORE INTO holds
      SELECT 0, OLD.digest || ' ' || child, child FROM names WHERE parent = OLD.digest;
  END;
  CREATE TEMP TRIGGER pins_keep_names BEFORE DELETE ON main.names
    WHEN EXISTS (SELECT 1 FROM facts WHERE name = 'lost ' || OLD.parent)
  BEGIN
    SELECT RAISE(IGNORE);
  END;
  CREATE TEMP TRIGGER pins_found AFTER INSERT ON main.blobs
    WHEN EXISTS (SELECT 1 FROM facts WHERE name = 'lost ' || NEW.digest)
  BEGIN
    DELETE FROM facts WHERE name = 'lost ' || NEW.digest;
    DELETE FROM holds
      WHERE repository = 0 AND reference > NEW.digest || ' ' AND reference < NEW.digest || '!';
  END;
`;

export class PinLosses {
  readonly #database: Database;
  readonly #statements;

  /** @param database where the triggers are. */
  constructor(database: Database) {
    this.#database = database;
    this.#statements = {
      lost: database.prepare("SELECT substr(name, 6) AS digest FROM facts WHERE name > 'lost ' AND name < 'lost!'"),
      isPinned: database.prepare(
        `WITH RECURSIVE above (digest) AS (
           SELECT ?1 UNION SELECT n.parent FROM names n JOIN above ON n.child = above.digest LIMIT 1000
         ) SELECT 1 FROM above JOIN holds h ON h.digest = above.digest WHERE h.repository > 0 LIMIT 1`,
      ),
      dropFact: database.prepare("DELETE FROM facts WHERE name = 'lost ' || ?"),
      dropHolds: database.prepare(
        "DELETE FROM holds WHERE repository = 0 AND reference > ?1 || ' ' AND reference < ?1 || '!'",
      ),
      dropNames: database.prepare("DELETE FROM names WHERE parent = ?"),
    };
  }

  /** What is missed. */
  get digests(): readonly Digest[] {
    return this.#statements.lost.all().map((row) => String(row["digest"]) as Digest);
  }

  /** Lets go of what nobody pins any more. To be called after what is held may have changed. */
  settle(): void {
    const { isPinned, dropFact, dropHolds, dropNames } = this.#statements;
    const lost = this.digests;
    // All are looked at before any goes: one may be pinned by way of another.
    const free = lost.filter((digest) => isPinned.get(digest) === undefined);
    if (free.length === 0) return;
    transaction(this.#database, () => {
      for (const digest of free) for (const statement of [dropFact, dropHolds, dropNames]) statement.run(digest);
    });
  }
}
