/**
 * Uses of what is stored: counted in memory as they come, written down a few seconds later, all together.
 *
 * A use of a manifest is one of the indexes that name it. The clock of uses only runs forward, and by no leaps: a clock
 * that is set wrong for an hour must not decide for years what is kept.
 */
import type { Clock } from "../base/clock.ts";
import type { Digest } from "../oci/digest.ts";
import { type Database, transaction } from "./database.ts";
import { worthAfter } from "./worth.ts";

/** Notes that something was read. */
export interface UseNotes {
  /** Costs an entry in a map. */
  note(digest: Digest, uses?: number): void;
}

const MAX_STEP_MS = 60 * 60_000;
const FACT = "clock of uses";

export class Usage implements UseNotes {
  readonly #database: Database;
  readonly #clock: Clock;
  readonly #noted = new Map<Digest, number>();
  readonly #statements;
  #now: number;
  #seenAt: number;
  /** Told what was used, whenever that is written down. */
  onUsed: (digests: readonly Digest[]) => void = () => {};

  constructor(database: Database, clock: Clock) {
    this.#database = database;
    this.#clock = clock;
    this.#statements = {
      find: database.prepare("SELECT worth FROM blobs WHERE digest = ?"),
      put: database.prepare(
        "UPDATE blobs SET hits = hits + ?, worth = ?, last_used = max(last_used, ?) WHERE digest = ?",
      ),
      raise: database.prepare("UPDATE blobs SET worth = max(worth, ?), last_used = max(last_used, ?) WHERE digest = ?"),
      parents: database.prepare("SELECT parent FROM names WHERE child = ?"),
      fact: database.prepare("SELECT value FROM facts WHERE name = ?"),
      putFact: database.prepare(
        "INSERT INTO facts (name, value) VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value",
      ),
    };
    this.#seenAt = clock.now();
    const known = Number(this.#statements.fact.get(FACT)?.["value"] ?? this.#seenAt);
    this.#now = Math.max(known, Math.min(this.#seenAt, known + 30 * 24 * 60 * 60_000));
  }

  /** The clock of uses, in epoch milliseconds or thereabouts. */
  now(): number {
    const at = this.#clock.now();
    this.#now += Math.min(Math.max(0, at - this.#seenAt), MAX_STEP_MS);
    this.#seenAt = at;
    return this.#now;
  }

  note(digest: Digest, uses = 1): void {
    this.#noted.set(digest, (this.#noted.get(digest) ?? 0) + uses);
  }

  /** What it will be worth, with what is not written down yet. */
  worthOf(digest: Digest): number {
    const row = this.#statements.find.get(digest);
    const worth = Number(row?.["worth"] ?? Number.NEGATIVE_INFINITY);
    return worthAfter(worth, this.now(), this.#noted.get(digest) ?? 0);
  }

  flush(): void {
    const noted = [...this.#noted];
    this.#noted.clear();
    const now = this.now();
    const at = this.#clock.now();
    transaction(this.#database, () => {
      for (const [digest, uses] of noted) this.#put(digest, uses, now, at);
      this.#statements.putFact.run(FACT, String(now));
    });
    if (noted.length > 0) this.onUsed(noted.map(([digest]) => digest));
  }

  #put(digest: Digest, uses: number, now: number, at: number): void {
    const { find, put, raise, parents } = this.#statements;
    const row = find.get(digest);
    if (row === undefined) return;
    const worth = worthAfter(Number(row["worth"]), now, uses);
    put.run(uses, worth, at, digest);
    for (const { parent } of parents.all(digest)) raise.run(worth, at, String(parent));
  }
}
