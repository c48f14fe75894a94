/**
 * The SQLite file: opened, migrated, closed here; the rooms beside this file each own some of its tables.
 *
 * Tags and what is reachable in which repository are state; blobs and manifests are an index of files. Every statement
 * is prepared once. A sole process has the index locked for itself; one that lets others of its own read it does not,
 * and the directory is kept by `lock.ts` in either case. What a damaged file means is for `recovery.ts`.
 */
import { join } from "node:path";
import type { DatabaseSync } from "node:sqlite";
import { Failure, messageOf } from "../base/failure.ts";
import { type DamageListener, isBusy, WatchedDatabase } from "./damage.ts";
import { inUse } from "./lock.ts";
import { MIGRATIONS } from "./migrations.ts";

export { isDatabaseError } from "./damage.ts";

export const INDEX_FILE = "index.sqlite";

export type Database = DatabaseSync;

export interface OpeningOptions {
  /** EXCLUSIVE keeps everyone else out. */
  readonly locking?: "EXCLUSIVE" | "NORMAL";
  /** For how long others are waited for. */
  readonly timeoutMs?: number;
  /** True for an index that lives as long as the process. */
  readonly inMemory?: boolean;
}

/** For a process that only reads, while another has the index open. Sees what is committed when it looks. */
export function openReader(directory: string, onDamage?: DamageListener): Database {
  const database = new WatchedDatabase(join(directory, INDEX_FILE), { readOnly: true, timeout: 5000 }, directory);
  if (onDamage !== undefined) database.onDamage(onDamage);
  return database;
}

/**
 * Opens or creates `index.sqlite` in the directory.
 * @throws Failure `storage`: unreadable, damaged, written by a newer version, or in use by another process.
 */
export function openDatabase(directory: string, options: OpeningOptions = {}): Database {
  try {
    return openWatched(directory, options).database;
  } catch (cause) {
    throw openingFailure(directory, cause);
  }
}

/**
 * As `openDatabase`, but what SQLite complains of is thrown as it is.
 * @returns the format that was found; 0 for a new file.
 */
export function openWatched(
  directory: string,
  { locking = "EXCLUSIVE", timeoutMs = 0, inMemory = false }: OpeningOptions,
): { readonly database: WatchedDatabase; readonly version: number } {
  const path = inMemory ? ":memory:" : join(directory, INDEX_FILE);
  const database = new WatchedDatabase(path, { timeout: timeoutMs }, directory);
  try {
    database.exec(`PRAGMA locking_mode = ${locking}; PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;`);
    const version = migrate(database, path);
    return { database, version };
  } catch (error) {
    database.close();
    throw error;
  }
}

export function openingFailure(directory: string, cause: unknown): Failure {
  if (cause instanceof Failure) return cause;
  if (isBusy(cause)) return inUse(directory, cause);
  const path = join(directory, INDEX_FILE);
  const advice = "The cache directory must be on a disk that has room, and that this process may write";
  return new Failure("storage", `cannot open ${path}: ${messageOf(cause)}. ${advice}.`, { cause });
}

/** Nothing is written where nothing has changed: a full disk keeps nobody from starting. */
function migrate(database: DatabaseSync, path: string): number {
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
  if (version < MIGRATIONS.length) database.exec(`PRAGMA user_version = ${MIGRATIONS.length}`);
  database.exec("COMMIT");
  return version;
}

/** Runs `work` in one transaction; what throws undoes it. */
export function transaction(database: Database, work: () => void): void {
  database.exec("BEGIN IMMEDIATE");
  try {
    work();
    database.exec("COMMIT");
  } catch (error) {
    // Some errors (a full disk, damage) have undone it by themselves.
    if (database.isTransaction) database.exec("ROLLBACK");
    throw error;
  }
}
