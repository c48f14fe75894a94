/**
 * What is pinned, and so never leaves: a repository's tag, whatever it names now and later, or one digest.
 *
 * `blobs.held` counts the pins that name a blob. Triggers of this connection, the only one that writes, keep it so, whoever
 * moves a tag, stores a blob or drops one: nobody has to think of pins. For documents that were lost see `pin-losses.ts`. Of a pin for some platforms, the index's edges to
 * the others are cut, so that those may leave; edges that are cut are not drawn again while they are.
 */
import type { Digest } from "../oci/digest.ts";
import { type Database, transaction } from "./database.ts";
import { LOSS_TRIGGERS, LOST_HOLDS, PinLosses } from "./pin-losses.ts";
import type { Place, Repositories } from "./repositories.ts";

export interface Pin {
  readonly place: Place;
  /** A tag or a digest. */
  readonly reference: string;
  /** `linux/amd64`, …; none = all. */
  readonly platforms: readonly string[];
  readonly pinnedAt: number;
  /** What it holds now; undefined where a tag names nothing yet. */
  readonly digest: Digest | undefined;
}

/** In memory: where the rest of the file system is read-only, as in containers, there is no place for temporary files. */
const SETUP = `
  PRAGMA temp_store = MEMORY;
  CREATE TEMP TABLE holds (
    repository INTEGER NOT NULL,
    reference TEXT NOT NULL,
    digest TEXT NOT NULL,
    PRIMARY KEY (repository, reference)
  ) WITHOUT ROWID;
  CREATE INDEX temp.holds_digest ON holds (digest);
  CREATE TEMP TABLE cuts (
    parent TEXT NOT NULL,
    child TEXT NOT NULL,
    PRIMARY KEY (parent, child)
  ) WITHOUT ROWID;
  INSERT INTO holds
    SELECT p.repository, p.reference, coalesce(t.digest, p.reference)
    FROM pins p LEFT JOIN tags t ON t.repository = p.repository AND t.tag = p.reference
    WHERE t.digest IS NOT NULL OR instr(p.reference, ':') > 0;
  ${LOST_HOLDS}
  UPDATE blobs SET held = (SELECT count(*) FROM holds WHERE holds.digest = blobs.digest)
    WHERE digest IN (SELECT digest FROM holds);
  CREATE TEMP TRIGGER pins_put AFTER INSERT ON main.pins BEGIN
    INSERT INTO holds SELECT NEW.repository, NEW.reference, NEW.reference WHERE instr(NEW.reference, ':') > 0;
    INSERT INTO holds SELECT repository, tag, digest FROM tags WHERE repository = NEW.repository AND tag = NEW.reference;
  END;
  CREATE TEMP TRIGGER pins_drop AFTER DELETE ON main.pins BEGIN
    DELETE FROM holds WHERE repository = OLD.repository AND reference = OLD.reference;
  END;
  CREATE TEMP TRIGGER pins_tag_put AFTER INSERT ON main.tags
    WHEN EXISTS (SELECT 1 FROM pins WHERE repository = NEW.repository AND reference = NEW.tag)
  BEGIN
    INSERT INTO holds VALUES (NEW.repository, NEW.tag, NEW.digest);
  END;
  CREATE TEMP TRIGGER pins_tag_move AFTER UPDATE OF digest ON main.tags
    WHEN OLD.digest <> NEW.digest AND EXISTS (SELECT 1 FROM pins WHERE repository = NEW.repository AND reference = NEW.tag)
  BEGIN
    DELETE FROM holds WHERE repository = NEW.repository AND reference = NEW.tag;
    INSERT INTO holds VALUES (NEW.repository, NEW.tag, NEW.digest);
  END;
  CREATE TEMP TRIGGER pins_tag_drop AFTER DELETE ON main.tags
    WHEN EXISTS (SELECT 1 FROM pins WHERE repository = OLD.repository AND reference = OLD.tag)
  BEGIN
    DELETE FROM holds WHERE repository = OLD.repository AND reference = OLD.tag;
  END;
  CREATE TEMP TRIGGER pins_hold AFTER INSERT ON holds BEGIN
    UPDATE blobs SET held = held + 1 WHERE digest = NEW.digest;
    SELECT pins_changed();
  END;
  CREATE TEMP TRIGGER pins_release AFTER DELETE ON holds BEGIN
    UPDATE blobs SET held = held - 1 WHERE digest = OLD.digest;
    SELECT pins_changed();
  END;
  CREATE TEMP TRIGGER pins_blob_put AFTER INSERT ON main.blobs
    WHEN EXISTS (SELECT 1 FROM holds WHERE digest = NEW.digest)
  BEGIN
    UPDATE blobs SET held = (SELECT count(*) FROM holds WHERE digest = NEW.digest) WHERE digest = NEW.digest;
    SELECT pins_changed();
  END;
  CREATE TEMP TRIGGER pins_cut BEFORE INSERT ON main.names
    WHEN EXISTS (SELECT 1 FROM cuts WHERE parent = NEW.parent AND child = NEW.child)
  BEGIN
    SELECT RAISE(IGNORE);
  END;
  ${LOSS_TRIGGERS}
`;

/** Indexes with edges that are cut: after a restart, too, they are drawn again when nobody wants them cut. */
const CUT_FACT = "indexes with edges cut";

const ROWS = `
  SELECT r.upstream, r.name, p.reference, p.platforms, p.pinned_at, h.digest
  FROM pins p JOIN repositories r ON r.id = p.repository
  LEFT JOIN holds h ON h.repository = p.repository AND h.reference = p.reference`;

export class Pins {
  readonly #database: Database;
  readonly #repositories: Repositories;
  readonly #losses: PinLosses;
  readonly #statements;
  #onChange = () => {};

  /** @param database the connection that writes; there is one of these on it. */
  constructor(database: Database, repositories: Repositories) {
    this.#database = database;
    this.#repositories = repositories;
    database.function("pins_changed", () => {
      this.#onChange();
      return null;
    });
    database.exec(SETUP);
    this.#losses = new PinLosses(database);
    this.#statements = {
      put: database.prepare("INSERT INTO pins (repository, reference, platforms, pinned_at) VALUES (?, ?, ?, ?)"),
      drop: database.prepare("DELETE FROM pins WHERE repository = ? AND reference = ?"),
      find: database.prepare(`${ROWS} WHERE p.repository = ? AND p.reference = ?`),
      list: database.prepare(
        `${ROWS} WHERE (r.upstream, r.name, p.reference) > (?, ?, ?) ORDER BY r.upstream, r.name, p.reference LIMIT ?`,
      ),
      holding: database.prepare(`${ROWS} WHERE h.digest = ? LIMIT ?`),
      narrowed: database.prepare(
        `SELECT h.digest, p.platforms FROM holds h JOIN pins p ON p.repository = h.repository AND p.reference = h.reference
         WHERE h.digest IN (SELECT g.digest FROM holds g JOIN pins q ON q.repository = g.repository AND q.reference = g.reference WHERE q.platforms <> '')`,
      ),
      dropCuts: database.prepare("DELETE FROM cuts WHERE parent = ?"),
      putCut: database.prepare("INSERT INTO cuts VALUES (?, ?) ON CONFLICT DO NOTHING"),
      dropName: database.prepare("DELETE FROM names WHERE parent = ? AND child = ?"),
      putName: database.prepare("INSERT INTO names (parent, child) VALUES (?, ?) ON CONFLICT DO NOTHING"),
      isManifest: database.prepare("SELECT 1 FROM manifests WHERE digest = ?"),
      fact: database.prepare("SELECT value FROM facts WHERE name = ?"),
      putFact: database.prepare(
        "INSERT INTO facts (name, value) VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value",
      ),
    };
  }

  /** Called, once or more, when what is held may have changed; while the database is at work: not a time to ask it. */
  onChange(listener: () => void): void {
    this.#onChange = listener;
  }

  /** Pins, or pins anew for other platforms. */
  put(place: Place, reference: string, platforms: readonly string[], pinnedAt: number): void {
    transaction(this.#database, () => {
      const id = this.#repositories.idOf(place);
      this.#statements.drop.run(id, reference);
      this.#statements.put.run(id, reference, platforms.join(","), pinnedAt);
    });
  }

  /** @returns whether it was pinned. */
  drop(place: Place, reference: string): boolean {
    const id = this.#repositories.findId(place);
    return id !== undefined && Number(this.#statements.drop.run(id, reference).changes) > 0;
  }

  find(place: Place, reference: string): Pin | undefined {
    const id = this.#repositories.findId(place);
    const row = id === undefined ? undefined : this.#statements.find.get(id, reference);
    return row === undefined ? undefined : pinOf(row);
  }

  /** In the order of their names. @param after the last one of the page before. */
  list(limit: number, after?: Pick<Pin, "place" | "reference">): Pin[] {
    const { upstream = "", repository = "" } = after?.place ?? {};
    return this.#statements.list.all(upstream, repository, after?.reference ?? "", limit).map(pinOf);
  }

  /** Those that hold this digest. */
  holding(digest: Digest, limit: number): Pin[] {
    return this.#statements.holding.all(digest, limit).map(pinOf);
  }

  /** What is held for some platforms only, with these. */
  narrowed(): ReadonlyMap<Digest, readonly string[]> {
    const found = new Map<Digest, readonly string[]>();
    const whole = new Set<Digest>();
    for (const row of this.#statements.narrowed.all()) {
      const digest = String(row["digest"]) as Digest;
      const platforms = platformsOf(row);
      if (platforms.length === 0) whole.add(digest);
      found.set(digest, [...new Set([...(found.get(digest) ?? []), ...platforms])]);
    }
    for (const digest of whole) found.delete(digest);
    return found;
  }

  /** Documents of what is pinned that are to be fetched again. */
  get missed(): readonly Digest[] {
    return this.#losses.digests;
  }

  /** To be called when what is held may have changed: what was held for what is pinned no longer may leave. */
  settle(): void {
    this.#losses.settle();
  }

  /** Indexes that have edges cut, or had when the mirror ended. */
  cutIndexes(): readonly Digest[] {
    const value = this.#statements.fact.get(CUT_FACT)?.["value"];
    const list: unknown = typeof value === "string" ? JSON.parse(value) : [];
    return Array.isArray(list) ? list.map((digest) => String(digest) as Digest) : [];
  }

  /** Takes out the edges to these, and draws those to the others. */
  cut(index: Digest, { away, kept }: { readonly away: readonly Digest[]; readonly kept: readonly Digest[] }): void {
    const { dropCuts, putCut, dropName, putName, isManifest, putFact } = this.#statements;
    transaction(this.#database, () => {
      dropCuts.run(index);
      for (const child of away) {
        putCut.run(index, child);
        dropName.run(index, child);
      }
      if (isManifest.get(index) !== undefined) for (const child of kept) putName.run(index, child);
      const others = this.cutIndexes().filter((digest) => digest !== index);
      putFact.run(CUT_FACT, JSON.stringify(away.length === 0 ? others : [...others, index]));
    });
  }
}

type Row = Readonly<Record<string, unknown>>;

function pinOf(row: Row): Pin {
  const { digest } = row;
  return {
    place: { upstream: String(row["upstream"]), repository: String(row["name"]) as Place["repository"] },
    reference: String(row["reference"]),
    platforms: platformsOf(row),
    pinnedAt: Number(row["pinned_at"]),
    digest: digest === null ? undefined : (String(digest) as Digest),
  };
}

function platformsOf(row: Row): string[] {
  return String(row["platforms"])
    .split(",")
    .filter((platform) => platform !== "");
}
