/**
 * When each stored blob was last read and found to be what its digest says, and how far a scrub has come.
 *
 * Both are written together, so that a process that is killed goes on no later than where it was.
 */
import { type Digest, isDigest } from "../oci/digest.ts";
import { type Database, transaction } from "./database.ts";

/** How far a scrub has come, and what it has found. */
export interface ScrubState {
  readonly startedAt: number;
  /** Everything up to this digest was looked at, in the order of digests; "" for nothing. */
  readonly after: string;
  readonly counts: Readonly<Record<string, number>>;
}

const STATE = "scrub";
const STARTED = "scrub started";
const ENDED = "scrub ended";

export class Verified {
  readonly #database: Database;
  readonly #statements;

  constructor(database: Database) {
    this.#database = database;
    this.#statements = {
      between: database.prepare("SELECT digest FROM blobs WHERE digest > ? AND digest < ? ORDER BY digest LIMIT ?"),
      find: database.prepare("SELECT verified_at FROM blobs WHERE digest = ?"),
      put: database.prepare("UPDATE blobs SET verified_at = ? WHERE digest = ?"),
      below: database.prepare(
        `WITH RECURSIVE named(digest) AS (
           VALUES (?) UNION SELECT child FROM names JOIN named ON names.parent = named.digest
         ) SELECT digest FROM named JOIN blobs USING (digest) ORDER BY digest`,
      ),
      fact: database.prepare("SELECT value FROM facts WHERE name = ?"),
      putFact: database.prepare(
        "INSERT INTO facts (name, value) VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value",
      ),
      dropFact: database.prepare("DELETE FROM facts WHERE name = ?"),
    };
  }

  /** Digests of rows after `after` and before `before`, in their order. */
  digestsBetween(after: string, before: string, limit: number): Digest[] {
    return this.#statements.between.all(after, before, limit).map((row) => String(row["digest"]) as Digest);
  }

  /** Of what is stored: this and all that it names, and what names it as its subject, in the order of digests. */
  digestsBelow(digest: Digest): Digest[] {
    return this.#statements.below.all(digest).map((row) => String(row["digest"]) as Digest);
  }

  /** Undefined for what has no row. */
  find(digest: Digest): { readonly verifiedAt: number } | undefined {
    const row = this.#statements.find.get(digest);
    return row === undefined ? undefined : { verifiedAt: Number(row["verified_at"]) };
  }

  /** @param state of the scrub that read them; left as it is where there is none. */
  put(digests: readonly Digest[], at: number, state?: ScrubState): void {
    transaction(this.#database, () => {
      for (const digest of digests) this.#statements.put.run(at, digest);
      if (state !== undefined) this.#statements.putFact.run(STATE, JSON.stringify(state));
    });
  }

  /** Where a scrub was stopped; undefined where the last one came to its end. */
  findScrub(): ScrubState | undefined {
    const text = this.#statements.fact.get(STATE)?.["value"];
    return text === undefined ? undefined : stateOf(String(text));
  }

  started(at: number): void {
    this.#statements.putFact.run(STARTED, String(at));
  }

  ended(at: number): void {
    transaction(this.#database, () => {
      this.#statements.dropFact.run(STATE);
      this.#statements.putFact.run(ENDED, String(at));
    });
  }

  /** When a scrub was last begun, epoch milliseconds. */
  get lastStartedAt(): number | undefined {
    return this.#moment(STARTED);
  }

  /** When one last came to its end. */
  get lastEndedAt(): number | undefined {
    return this.#moment(ENDED);
  }

  #moment(fact: string): number | undefined {
    const value = Number(this.#statements.fact.get(fact)?.["value"] ?? Number.NaN);
    return Number.isFinite(value) ? value : undefined;
  }
}

/** What is not understood is no state: the scrub begins anew. */
function stateOf(text: string): ScrubState | undefined {
  try {
    const { startedAt, after, counts } = JSON.parse(text);
    if (typeof startedAt !== "number" || (after !== "" && !isDigest(String(after)))) return undefined;
    const entries = Object.entries(counts).map(([name, count]) => [name, Number(count)] as const);
    return entries.every(([, count]) => Number.isFinite(count))
      ? { startedAt, after, counts: Object.fromEntries(entries) }
      : undefined;
  } catch {
    return undefined;
  }
}
