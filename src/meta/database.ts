/**
 * The SQLite file: opened, migrated, closed here; the rooms beside this file each own some of its tables.
 *
 * Tags and what is reachable in which repository are state; blobs and manifests are an index of files. Every statement
 * is prepared once. A second mirror on the same cache directory is refused: a sole process locks the index itself; one
 * that lets others of its own read the index holds `lock.sqlite` locked instead. The kernel lets go of both.
 */
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { errnoOf, Failure, messageOf } from "../base/failure.ts";

/** One entry a version, applied in order and never changed once released. */
const MIGRATIONS = [
  `
  CREATE TABLE repositories (
    id INTEGER PRIMARY KEY,
    upstream TEXT NOT NULL,
    name TEXT NOT NULL,
    UNIQUE (upstream, name)
  );
  CREATE TABLE tags (
    repository INTEGER NOT NULL REFERENCES repositories (id),
    tag TEXT NOT NULL,
    digest TEXT NOT NULL,
    checked_at INTEGER NOT NULL,
    PRIMARY KEY (repository, tag)
  ) WITHOUT ROWID;
  CREATE TABLE reachable (
    repository INTEGER NOT NULL REFERENCES repositories (id),
    digest TEXT NOT NULL,
    size INTEGER NOT NULL,
    confirmed INTEGER NOT NULL,
    PRIMARY KEY (repository, digest)
  ) WITHOUT ROWID;
  CREATE TABLE manifests (
    digest TEXT PRIMARY KEY,
    media_type TEXT NOT NULL
  ) WITHOUT ROWID;
  CREATE TABLE blobs (
    digest TEXT PRIMARY KEY,
    size INTEGER NOT NULL,
    upstream TEXT NOT NULL,
    stored_at INTEGER NOT NULL
  ) WITHOUT ROWID;
  `,
  `
  ALTER TABLE blobs ADD COLUMN last_used INTEGER NOT NULL DEFAULT 0;
  ALTER TABLE blobs ADD COLUMN hits INTEGER NOT NULL DEFAULT 0;
  ALTER TABLE blobs ADD COLUMN worth REAL NOT NULL DEFAULT 0;
  ALTER TABLE blobs ADD COLUMN parents INTEGER NOT NULL DEFAULT 0;
  ALTER TABLE blobs ADD COLUMN held INTEGER NOT NULL DEFAULT 0;
  ALTER TABLE blobs ADD COLUMN verified_at INTEGER NOT NULL DEFAULT 0;
  UPDATE blobs SET last_used = stored_at, worth = stored_at, verified_at = stored_at;
  ALTER TABLE manifests ADD COLUMN linked INTEGER NOT NULL DEFAULT 0;
  CREATE TABLE names (
    parent TEXT NOT NULL,
    child TEXT NOT NULL,
    PRIMARY KEY (parent, child)
  ) WITHOUT ROWID;
  CREATE INDEX names_child ON names (child);
  CREATE INDEX tags_digest ON tags (digest);
  CREATE INDEX reachable_digest ON reachable (digest);
  CREATE INDEX victims ON blobs (worth) WHERE parents = 0 AND held = 0;
  CREATE INDEX victims_of ON blobs (upstream, worth) WHERE parents = 0 AND held = 0;
  CREATE TABLE totals (
    upstream TEXT PRIMARY KEY,
    blobs INTEGER NOT NULL,
    bytes INTEGER NOT NULL
  ) WITHOUT ROWID;
  INSERT INTO totals SELECT upstream, count(*), sum(size) FROM blobs GROUP BY upstream;
  CREATE TRIGGER blobs_insert AFTER INSERT ON blobs BEGIN
    INSERT INTO totals VALUES (NEW.upstream, 1, NEW.size)
      ON CONFLICT DO UPDATE SET blobs = blobs + 1, bytes = bytes + excluded.bytes;
    UPDATE blobs SET parents = (SELECT count(*) FROM names WHERE child = NEW.digest) WHERE digest = NEW.digest;
  END;
  CREATE TRIGGER blobs_delete AFTER DELETE ON blobs BEGIN
    UPDATE totals SET blobs = blobs - 1, bytes = bytes - OLD.size WHERE upstream = OLD.upstream;
  END;
  CREATE TRIGGER blobs_move AFTER UPDATE OF upstream, size ON blobs BEGIN
    UPDATE totals SET blobs = blobs - 1, bytes = bytes - OLD.size WHERE upstream = OLD.upstream;
    INSERT INTO totals VALUES (NEW.upstream, 1, NEW.size)
      ON CONFLICT DO UPDATE SET blobs = blobs + 1, bytes = bytes + excluded.bytes;
  END;
  CREATE TRIGGER names_insert AFTER INSERT ON names BEGIN
    UPDATE blobs SET parents = parents + 1 WHERE digest = NEW.child;
  END;
  CREATE TRIGGER names_delete AFTER DELETE ON names BEGIN
    UPDATE blobs SET parents = parents - 1 WHERE digest = OLD.child;
  END;
  CREATE TABLE ghosts (
    digest TEXT PRIMARY KEY,
    worth REAL NOT NULL
  ) WITHOUT ROWID;
  CREATE INDEX ghosts_worth ON ghosts (worth);
  CREATE TABLE pins (
    repository INTEGER NOT NULL REFERENCES repositories (id),
    reference TEXT NOT NULL,
    platforms TEXT NOT NULL,
    pinned_at INTEGER NOT NULL,
    PRIMARY KEY (repository, reference)
  ) WITHOUT ROWID;
  CREATE TABLE partials (
    digest TEXT PRIMARY KEY,
    file TEXT NOT NULL,
    repository INTEGER NOT NULL REFERENCES repositories (id),
    size INTEGER NOT NULL,
    written INTEGER NOT NULL,
    synced INTEGER NOT NULL,
    boot TEXT NOT NULL,
    written_at INTEGER NOT NULL
  ) WITHOUT ROWID;
  CREATE TABLE facts (
    name TEXT PRIMARY KEY,
    value TEXT NOT NULL
  ) WITHOUT ROWID;
  `,
];

const FILE = "index.sqlite";
const LOCK = "lock.sqlite";

export type Database = DatabaseSync;

export interface IndexAccess {
  /** Opened and locked for this process; the only one that writes. */
  readonly database: Database;
  close(): void;
}

/**
 * Opens the index so that processes of this mirror can read it at the same time, with `openReader`.
 * @throws Failure as `openDatabase`.
 */
export function openSharedDatabase(directory: string): IndexAccess {
  const lock = openLocked(directory, LOCK);
  try {
    lock.exec("BEGIN EXCLUSIVE");
    const database = openDatabase(directory, "NORMAL");
    return {
      database,
      close() {
        database.close();
        lock.close();
      },
    };
  } catch (cause) {
    lock.close();
    throw openingFailure(directory, cause);
  }
}

/** For a process that only reads, while another has the index open. Sees what is committed when it looks. */
export function openReader(directory: string): Database {
  return new DatabaseSync(join(directory, FILE), { readOnly: true, timeout: 5000 });
}

/**
 * Opens or creates `index.sqlite` in the directory.
 * @param locking EXCLUSIVE keeps everyone else out.
 * @throws Failure `storage`: unreadable, damaged, written by a newer version, or in use by another process.
 */
export function openDatabase(directory: string, locking: "EXCLUSIVE" | "NORMAL" = "EXCLUSIVE"): Database {
  const path = join(directory, FILE);
  let database: DatabaseSync | undefined;
  try {
    database = new DatabaseSync(path, { timeout: locking === "EXCLUSIVE" ? 0 : 1000 });
    // Exclusive locking, taken by the first write below, is what keeps a second process out.
    database.exec(`PRAGMA locking_mode = ${locking}; PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;`);
    migrate(database, path);
    return database;
  } catch (cause) {
    database?.close();
    throw openingFailure(directory, cause);
  }
}

function openLocked(directory: string, file: string): Database {
  try {
    return new DatabaseSync(join(directory, file), { timeout: 0 });
  } catch (cause) {
    throw openingFailure(directory, cause);
  }
}

function openingFailure(directory: string, cause: unknown): Failure {
  if (cause instanceof Failure) return cause;
  if (/locked|busy/i.test(messageOf(cause))) {
    return new Failure("storage", `the cache directory ${directory} is in use by another process`, { cause });
  }
  return damagedIndex(directory, cause);
}

/** True for what SQLite complains of, at opening or later. */
export function isDatabaseError(error: unknown): boolean {
  return errnoOf(error) === "ERR_SQLITE_ERROR";
}

export function damagedIndex(directory: string, cause: unknown): Failure {
  const path = join(directory, FILE);
  const advice = "Remove the file to start with an empty index";
  return new Failure("storage", `cannot open ${path}: ${messageOf(cause)}. ${advice}.`, { cause });
}

function migrate(database: DatabaseSync, path: string): void {
  database.exec("BEGIN EXCLUSIVE");
  const row = database.prepare("PRAGMA user_version").get();
  const version = Number(row?.["user_version"] ?? 0);
  if (version > MIGRATIONS.length) {
    database.exec("ROLLBACK");
    throw new Failure(
      "storage",
      `${path} was written by a newer version (format ${version}); this one knows ${MIGRATIONS.length}`,
    );
  }
  for (const migration of MIGRATIONS.slice(version)) database.exec(migration);
  database.exec(`PRAGMA user_version = ${MIGRATIONS.length}`);
  database.exec("COMMIT");
}

/** Runs `work` in one transaction; what throws undoes it. */
export function transaction(database: Database, work: () => void): void {
  database.exec("BEGIN IMMEDIATE");
  try {
    work();
    database.exec("COMMIT");
  } catch (error) {
    database.exec("ROLLBACK");
    throw error;
  }
}
