/**
 * Repositories that something is cached of: a number for each (upstream, name), and the listing of all.
 */
import { LRUCache } from "lru-cache";
import { atMost } from "../base/bounded.ts";
import type { Repository, Tag } from "../oci/reference.ts";
import type { Database } from "./database.ts";

/** A repository on one upstream: what permissions and tags hang on. */
export interface Place {
  readonly upstream: string;
  readonly repository: Repository;
}

/** `upstream/name`, unique: an upstream's name has no slash. */
export function placeKey(place: Place): string {
  return `${place.upstream}/${place.repository}`;
}

/** `upstream/name:tag`, unique. */
export function tagKey(place: Place, tag: Tag): string {
  return `${placeKey(place)}:${tag}`;
}

export class Repositories {
  readonly #database: Database;
  readonly #find;
  readonly #insert;
  readonly #list;
  readonly #ids = new LRUCache<string, number>(atMost(20_000));

  constructor(database: Database) {
    this.#database = database;
    this.#find = database.prepare("SELECT id FROM repositories WHERE upstream = ? AND name = ?");
    this.#insert = database.prepare("INSERT INTO repositories (upstream, name) VALUES (?, ?)");
    this.#list = database.prepare(
      "SELECT upstream, name FROM repositories WHERE EXISTS (SELECT 1 FROM tags WHERE repository = id) OR EXISTS (SELECT 1 FROM reachable WHERE repository = id)",
    );
  }

  findId(place: Place): number | undefined {
    const key = placeKey(place);
    const known = this.#ids.get(key);
    if (known !== undefined) return known;
    const row = this.#find.get(place.upstream, place.repository);
    if (row === undefined) return undefined;
    const id = Number(row["id"]);
    // Within a transaction it may be one that is made by it: that may be undone, and its number be given to another.
    if (!this.#database.isTransaction) this.#ids.set(key, id);
    return id;
  }

  /** The number of a repository, which is made if need be. */
  idOf(place: Place): number {
    const known = this.findId(place);
    if (known !== undefined) return known;
    return Number(this.#insert.run(place.upstream, place.repository).lastInsertRowid);
  }

  /** Everything that has something cached, in no order. */
  list(): Place[] {
    return this.#list
      .all()
      .map((row) => ({ upstream: String(row["upstream"]), repository: String(row["name"]) as Repository }));
  }
}
