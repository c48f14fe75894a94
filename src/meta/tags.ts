/**
 * What each tag named when its upstream was last asked. State, not an index: it cannot be rebuilt from files.
 */
import { LRUCache } from "lru-cache";
import { atMost } from "../base/bounded.ts";
import type { Digest } from "../oci/digest.ts";
import type { Tag } from "../oci/reference.ts";
import type { Database } from "./database.ts";
import { type Place, type Repositories, tagKey } from "./repositories.ts";

const MAX_HELD = 20_000;

export interface TagEntry {
  readonly digest: Digest;
  /** When the upstream last said so, in milliseconds since the epoch. */
  readonly checkedAt: number;
}

export class Tags {
  readonly #repositories: Repositories;
  readonly #find;
  readonly #put;
  readonly #drop;
  readonly #any;
  readonly #names;
  /** Rows as they stand in the database, where it has no other writer. */
  readonly #held: LRUCache<string, TagEntry> | undefined;

  /** @param sole false where another process writes: then every look is at the database itself. */
  constructor(database: Database, repositories: Repositories, sole = true) {
    this.#held = sole ? new LRUCache(atMost(MAX_HELD)) : undefined;
    this.#repositories = repositories;
    this.#find = database.prepare("SELECT digest, checked_at FROM tags WHERE repository = ? AND tag = ?");
    this.#put = database.prepare(
      "INSERT INTO tags (repository, tag, digest, checked_at) VALUES (?, ?, ?, ?) " +
        "ON CONFLICT DO UPDATE SET digest = excluded.digest, checked_at = excluded.checked_at",
    );
    this.#drop = database.prepare("DELETE FROM tags WHERE repository = ? AND tag = ?");
    this.#any = database.prepare("SELECT 1 FROM tags WHERE repository = ? LIMIT 1");
    this.#names = database.prepare("SELECT tag FROM tags WHERE repository = ? ORDER BY tag");
  }

  find(place: Place, tag: Tag): TagEntry | undefined {
    const key = tagKey(place, tag);
    const held = this.#held?.get(key);
    if (held !== undefined) return held;
    const id = this.#repositories.findId(place);
    if (id === undefined) return undefined;
    const row = this.#find.get(id, tag);
    if (row === undefined) return undefined;
    const entry = { digest: String(row["digest"]) as Digest, checkedAt: Number(row["checked_at"]) };
    this.#held?.set(key, entry);
    return entry;
  }

  put(place: Place, tag: Tag, digest: Digest, checkedAt: number): void {
    this.#put.run(this.#repositories.idOf(place), tag, digest, checkedAt);
    this.#held?.set(tagKey(place, tag), { digest, checkedAt });
  }

  drop(place: Place, tag: Tag): void {
    const id = this.#repositories.findId(place);
    if (id !== undefined) this.#drop.run(id, tag);
    this.#held?.delete(tagKey(place, tag));
  }

  hasAny(place: Place): boolean {
    const id = this.#repositories.findId(place);
    return id !== undefined && this.#any.get(id) !== undefined;
  }

  /** The tags we know of a repository, in lexical order: what can be pulled without the upstream. */
  namesOf(place: Place): string[] {
    const id = this.#repositories.findId(place);
    return id === undefined ? [] : this.#names.all(id).map((row) => String(row["tag"]));
  }
}
