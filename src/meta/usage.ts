/**
 * Uses of what is stored: counted in memory as they come, written down a few seconds later, all together.
 *
 * A use of a manifest is one of the indexes that name it; a use of a layer is none of the images that share it. What is
 * not stored is used too: that decides whether it is let in the next time. The clock of uses only runs forward, and by no
 * leaps: a clock that is set wrong for an hour must not decide for years what is kept.
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

/** More different things in a few seconds than this are not counted. */
const MAX_NOTED = 50_000;
/** After so many it is looked whether the time is up. */
const BATCH = 32;
const MAX_STEP_MS = 60 * 60_000;
const FACT = "clock of uses";

export class Usage implements UseNotes {
  readonly #database: Database;
  readonly #clock: Clock;
  readonly #noted = new Map<Digest, number>();
  readonly #statements;
  #whenNoted = () => {};
  #now: number;
  #seenAt: number;
  /** Told what was used, whenever that is written down. */
  onUsed: (digests: readonly Digest[]) => void = () => {};

  constructor(database: Database, clock: Clock) {
    this.#database = database;
    this.#clock = clock;
    this.#statements = {
      find: database.prepare("SELECT worth FROM blobs WHERE digest = ?"),
      ghost: database.prepare("SELECT worth FROM ghosts WHERE digest = ?"),
      putGhost: database.prepare(
        "INSERT INTO ghosts (digest, worth) VALUES (?, ?) ON CONFLICT DO UPDATE SET worth = excluded.worth",
      ),
      isManifest: database.prepare("SELECT 1 FROM manifests WHERE digest = ?"),
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
    if (this.#noted.size === 0) this.#whenNoted();
    const before = this.#noted.get(digest);
    if (before !== undefined || this.#noted.size < MAX_NOTED) this.#noted.set(digest, (before ?? 0) + uses);
  }

  /** When something was, by the clock of uses, that was at this moment by the other. */
  dateOf(at: number): number {
    return this.now() - Math.max(0, this.#clock.now() - at);
  }

  /** Calls back whenever there is something to write down, and was nothing before. */
  whenNoted(callback: () => void): void {
    this.#whenNoted = callback;
  }

  /** Whether it was used in the last seconds, which is not written down yet. */
  isNoted(digest: Digest): boolean {
    return this.#noted.has(digest);
  }

  /**
   * What it will be worth, with what is not written down yet, be it stored or not.
   * @param uses of now, besides those that were noted.
   */
  worthOf(digest: Digest, uses = 0): number {
    const row = this.#statements.find.get(digest) ?? this.#statements.ghost.get(digest);
    const worth = Number(row?.["worth"] ?? Number.NEGATIVE_INFINITY);
    return worthAfter(worth, this.now(), (this.#noted.get(digest) ?? 0) + uses);
  }

  /**
   * Writes down what was noted.
   * @param maxMs about how long this may take.
   * @returns whether something is left to be written down.
   */
  flush(maxMs = Number.POSITIVE_INFINITY): boolean {
    const until = performance.now() + maxMs;
    const now = this.now();
    const at = this.#clock.now();
    const written: Digest[] = [];
    transaction(this.#database, () => {
      for (const [digest, uses] of this.#noted) {
        this.#put(digest, uses, now, at);
        written.push(digest);
        if (written.length % BATCH === 0 && performance.now() > until) break;
      }
      this.#statements.putFact.run(FACT, String(now));
    });
    // Not before it is written: what the database does not take now is noted still.
    for (const digest of written) this.#noted.delete(digest);
    if (written.length > 0) this.onUsed(written);
    return this.#noted.size > 0;
  }

  #put(digest: Digest, uses: number, now: number, at: number): void {
    const { find, ghost, putGhost, isManifest, put, raise, parents } = this.#statements;
    const row = find.get(digest);
    if (row === undefined) {
      const before = Number(ghost.get(digest)?.["worth"] ?? Number.NEGATIVE_INFINITY);
      putGhost.run(digest, worthAfter(before, now, uses));
      return;
    }
    const worth = worthAfter(Number(row["worth"]), now, uses);
    put.run(uses, worth, at, digest);
    if (isManifest.get(digest) === undefined) return;
    for (const { parent } of parents.all(digest)) raise.run(worth, at, String(parent));
  }
}
