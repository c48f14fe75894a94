/**
 * What the index remembers of its own life: whether it is open, and whether rows and files are known to agree.
 *
 * That it is open is written through to the file itself at the start: were it in the journal alone, losing that would
 * make a killed process look like one that ended well.
 */
import type { Database } from "./database.ts";

const OPEN = "index is open";
const DUE = "reconciling is due";

export class Facts {
  readonly #database: Database;
  readonly #find;
  readonly #put;
  readonly #drop;

  constructor(database: Database) {
    this.#database = database;
    this.#find = database.prepare("SELECT value FROM facts WHERE name = ?");
    this.#put = database.prepare("INSERT INTO facts (name, value) VALUES (?, '1') ON CONFLICT DO NOTHING");
    this.#drop = database.prepare("DELETE FROM facts WHERE name = ?");
  }

  /** To be asked before `opened`. */
  isDue(): boolean {
    return this.#find.get(OPEN) !== undefined || this.#find.get(DUE) !== undefined;
  }

  opened(reconcileDue: boolean): void {
    this.#try(() => {
      if (reconcileDue) this.#put.run(DUE);
      this.#put.run(OPEN);
      this.#database.exec("PRAGMA wal_checkpoint(TRUNCATE)");
    });
  }

  reconciled(): void {
    this.#drop.run(DUE);
  }

  closed(): void {
    this.#try(() => this.#drop.run(OPEN));
  }

  /** On a full disk nobody is kept from starting or stopping: the next start reconciles once too often. */
  #try(work: () => void): void {
    try {
      work();
    } catch {
      // Damage has been noted by the connection itself.
    }
  }
}
