/**
 * Opening the index so that whatever became of its file, a mirror starts.
 *
 * A file that is damaged, or was found to be in an earlier run, is set aside, with its journal; the backup takes its
 * place, or nothing does. Either way rows and files may disagree then, and whoever opened is told to reconcile them.
 * Nothing is searched for damage here: that would take minutes where a mirror has to be ready in a second.
 */
import { existsSync, readdirSync, renameSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { messageOf } from "../base/failure.ts";
import { BACKUP_FILE, backupBytes, forgetPartial, writeBackup } from "./backup.ts";
import {
  acquit,
  condemn,
  type DamageListener,
  findCondemned,
  isBusy,
  isCuredByReopening,
  isDatabaseError,
  isFull,
  type WatchedDatabase,
} from "./damage.ts";
import { type Database, INDEX_FILE, openingFailure, openWatched } from "./database.ts";
import { Facts } from "./facts.ts";
import { type DirectoryHold, holdDirectory } from "./lock.ts";
import { MIGRATIONS } from "./migrations.ts";

const SIDECARS = ["", "-wal", "-shm", "-journal"];
const ASIDE = `${INDEX_FILE}.damaged-`;
const MAX_ASIDE = 2;
/** Processes of a mirror that was killed end by themselves, and read until then. */
const WAIT_MS = 1500;

/** How the index came to be another one than was left. */
export interface Recovery {
  /** What was wrong with it. */
  readonly reason: string;
  /** The name it has now, beside where it was; undefined where there was no file. */
  readonly aside: string | undefined;
  /** When the backup was made that took its place, epoch milliseconds; undefined where there was none. */
  readonly restoredFrom: number | undefined;
  /** True where the disk is full, so that the new one is in memory, and the next start rebuilds it once more. */
  readonly inMemory: boolean;
}

/** The index, locked for this process; the only one that writes. */
export interface IndexAccess {
  readonly database: Database;
  readonly recovery: Recovery | undefined;
  /** True where rows and files may disagree: after a recovery, an end that was not clean, or a migration that asks for it. */
  readonly reconcileDue: boolean;
  /** Rows and files have been found to agree. */
  reconciled(): void;
  /** Has the next opening rebuild the index. */
  condemn(found: unknown): void;
  /** What found damage in the meantime, through any connection of this process. */
  readonly damage: Error | undefined;
  onDamage(listener: DamageListener): void;
  /** Grows with what is written down. */
  readonly writes: number;
  /** How large a backup would be. */
  sizeBytes(): number;
  /** Whether there is a backup. */
  hasBackup(): boolean;
  /** See `writeBackup`. */
  writeBackup(signal: AbortSignal): Promise<void>;
  close(): void;
}

/**
 * @param shared true where processes of this mirror read the index at the same time, with `openReader`.
 * @throws Failure `storage`: in use by another process, written by a newer version, or a directory that cannot be written.
 */
export function openIndex(directory: string, shared: boolean): IndexAccess {
  const hold = holdDirectory(directory);
  let opened: Opened | undefined;
  try {
    forgetPartial(directory);
    opened = open(directory, shared ? "NORMAL" : "EXCLUSIVE");
    return accessTo(directory, opened, hold);
  } catch (cause) {
    opened?.database.close();
    hold.release();
    throw openingFailure(directory, cause);
  }
}

function accessTo(directory: string, { database, version, recovery }: Opened, hold: DirectoryHold): IndexAccess {
  // From here on what is found is left for the next opening.
  database.onDamage(() => {});
  const facts = new Facts(database);
  const reconcileDue = recovery !== undefined || (version > 0 && version < MIGRATIONS.length) || facts.isDue();
  facts.opened(reconcileDue);
  return {
    ...{ database, recovery, reconcileDue },
    reconciled: () => facts.reconciled(),
    condemn: (found) => void condemn(directory, found),
    get damage() {
      return database.found;
    },
    onDamage: (listener) => database.onDamage(listener),
    get writes() {
      return database.writes;
    },
    sizeBytes: () => backupBytes(database),
    hasBackup: () => existsSync(join(directory, BACKUP_FILE)),
    writeBackup: async (signal) => {
      if (recovery?.inMemory !== true) await writeBackup(database, directory, signal);
    },
    close() {
      facts.closed();
      database.close();
      hold.release();
    },
  };
}

type Opened = ReturnType<typeof openWatched> & { readonly recovery: Recovery | undefined };

function open(directory: string, locking: "EXCLUSIVE" | "NORMAL"): Opened {
  const options = { locking, timeoutMs: WAIT_MS };
  const path = join(directory, INDEX_FILE);
  const reason = findCondemned(directory) ?? findLoss(directory, path);
  if (reason === undefined) {
    try {
      const opened = openProbed(directory, options);
      if (opened.version > 0 || !wasUsed(directory)) return { ...opened, recovery: undefined };
      // An earlier start made the file and no more.
      opened.database.close();
      return recover(directory, "it is empty", options);
    } catch (error) {
      if (!isCuredByReopening(error)) throw error;
      return recover(directory, messageOf(error), options);
    }
  }
  return recover(directory, reason, options);
}

/** The end of the index that shows without opening it. */
function findLoss(directory: string, path: string): string | undefined {
  const stats = statSync(path, { throwIfNoEntry: false });
  if (stats !== undefined && !stats.isFile()) return "it is not a file";
  if (stats !== undefined && stats.size > 0) return undefined;
  if (!wasUsed(directory)) return undefined;
  return stats === undefined ? "it is missing" : "it is empty";
}

/** True where there is something that an index would know of. */
function wasUsed(directory: string): boolean {
  if (existsSync(join(directory, BACKUP_FILE))) return true;
  const blobs = join(directory, "blobs");
  if (!existsSync(blobs)) return false;
  return readdirSync(blobs).some((algorithm) => {
    const path = join(blobs, algorithm);
    return statSync(path, { throwIfNoEntry: false })?.isDirectory() === true && readdirSync(path).length > 0;
  });
}

/** Whatever this fails with in between, the next opening goes on from there, and no backup is taken for damage. */
function recover(directory: string, reason: string, options: Parameters<typeof openWatched>[1]): Opened {
  const aside = setAside(directory);
  acquit(directory);
  const restored = restore(directory, options);
  const recovery = { reason, aside, restoredFrom: restored?.madeAt, inMemory: false };
  try {
    return { ...(restored?.opened ?? openProbed(directory, options)), recovery };
  } catch (error) {
    // Others could not read it.
    if (!isFull(error) || options.locking === "NORMAL") throw error;
    condemn(directory, reason);
    return { ...openProbed(directory, { ...options, inMemory: true }), recovery: { ...recovery, inMemory: true } };
  }
}

function restore(directory: string, options: Parameters<typeof openWatched>[1]) {
  const backup = join(directory, BACKUP_FILE);
  const stats = statSync(backup, { throwIfNoEntry: false });
  if (stats === undefined || stats.size === 0) return undefined;
  // By name, not by copying: that would take seconds of a start, and the next backup is made soon.
  renameSync(backup, join(directory, INDEX_FILE));
  try {
    return { opened: openProbed(directory, options), madeAt: stats.mtimeMs };
  } catch (error) {
    if (!isDatabaseError(error) || isBusy(error)) throw error;
    for (const suffix of SIDECARS) rmSync(join(directory, INDEX_FILE + suffix), { recursive: true, force: true });
    return undefined;
  }
}

function setAside(directory: string): string | undefined {
  const names = SIDECARS.map((suffix) => ({ from: INDEX_FILE + suffix, suffix }));
  const present = names.filter(({ from }) => existsSync(join(directory, from)));
  if (present.length === 0) return undefined;
  forgetOlder(directory);
  const name = `${ASIDE}${new Date().toISOString().replace(/[-:]/g, "")}`;
  for (const { from, suffix } of present) renameSync(join(directory, from), join(directory, name + suffix));
  return name;
}

/** Makes room for one more. The time in their names sorts. */
function forgetOlder(directory: string): void {
  const all = readdirSync(directory).filter((name) => name.startsWith(ASIDE));
  const files = all.filter((name) => !/-(?:wal|shm|journal)$/.test(name)).sort();
  for (const old of files.slice(0, Math.max(0, files.length - MAX_ASIDE + 1))) {
    for (const name of all.filter((one) => one.startsWith(old))) {
      // A directory that somebody put there is theirs.
      if (statSync(join(directory, name)).isFile()) rmSync(join(directory, name));
    }
  }
}

/** Opens, and looks at the beginning of each table: what is plainly gone shows before anybody relies on it. */
function openProbed(directory: string, options: Parameters<typeof openWatched>[1]): ReturnType<typeof openWatched> {
  const opened = openWatched(directory, options);
  try {
    probe(opened.database);
    return opened;
  } catch (error) {
    opened.database.close();
    throw error;
  }
}

function probe(database: WatchedDatabase): void {
  const present = new Set(namesIn(database).map(({ name }) => name));
  for (const { type, name } of expectedNames()) {
    if (!present.has(name)) throw damaged(`the ${type} ${name} is gone`);
    if (type === "table") database.prepare(`SELECT * FROM "${name}" LIMIT 1`).get();
  }
  if (database.found !== undefined) throw database.found;
}

function damaged(message: string): Error {
  return Object.assign(new Error(message), { code: "ERR_SQLITE_ERROR", errcode: 11 });
}

function expectedNames() {
  const model = new DatabaseSync(":memory:");
  for (const migration of MIGRATIONS) model.exec(migration);
  const names = namesIn(model);
  model.close();
  return names;
}

function namesIn(database: DatabaseSync) {
  const rows = database.prepare("SELECT type, name FROM sqlite_schema WHERE name NOT LIKE 'sqlite_%'").all();
  return rows.map((row) => ({ type: String(row["type"]), name: String(row["name"]) }));
}

/** What a person should know of it, and what to expect. */
export function recoveryText({ reason, aside, restoredFrom, inMemory }: Recovery, offline: boolean): string {
  const aloud = inMemory ? "; the disk is full, and the new one is in memory until the next start" : "";
  const set = (aside === undefined ? "" : `; it was set aside as ${aside}`) + aloud;
  const files = "The stored files are kept, and are counted behind";
  if (restoredFrom !== undefined) {
    const made = new Date(restoredFrom).toISOString();
    return `the index had to be rebuilt (${reason})${set}. The backup of ${made} took its place: what changed later is learned anew. ${files}.`;
  }
  const lost = "Tags, permissions, pins and counts of uses are lost, as there was no backup";
  const next = offline
    ? "nothing can be served offline until they are learned again from an upstream or a bundle"
    : "they are learned anew as clients pull, with a question upstream for each";
  return `the index had to be rebuilt (${reason})${set}. ${lost}: ${next}. ${files}.`;
}

export function damageText(found: Error): string {
  return `the index is damaged (${found.message}): what it cannot tell is asked upstream, and it is rebuilt at the next start`;
}
