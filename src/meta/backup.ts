/**
 * A copy of the index, for the state in it that files cannot give back: tags, permissions, pins, counts of uses.
 *
 * A thread copies it while it is in use, reads the copy through, and only then does that take the last one's place: a
 * backup that is there opens, and was whole when it was made. Copied within the process' own connection, the last
 * step's sync would keep every statement waiting: 400 ms with a million rows.
 */
import { rmSync } from "node:fs";
import { open, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { Worker } from "node:worker_threads";
import { Failure } from "../base/failure.ts";
import type { Database } from "./database.ts";

export const BACKUP_FILE = "index.backup.sqlite";
const PARTIAL = "index.backup.partial";
const SUFFIXES = ["", "-journal"];
const THREAD = new URL(`./backup-thread.${import.meta.url.endsWith(".ts") ? "ts" : "js"}`, import.meta.url);
/** SQLite's own (sqlite.org/pragma.html, wal_autocheckpoint), in pages. */
const CHECKPOINT_AFTER = 1000;

/** How large a backup will be, about. */
export function backupBytes(database: Database): number {
  const pages = Number(database.prepare("PRAGMA page_count").get()?.["page_count"] ?? 0);
  const size = Number(database.prepare("PRAGMA page_size").get()?.["page_size"] ?? 0);
  return pages * size;
}

/**
 * Writes `index.backup.sqlite` anew: the index as it is now. One at a time.
 * @param database the only connection that writes to the index.
 * @throws the signal's reason; Failure `storage` where the copy is damaged or could not be made.
 */
export async function writeBackup(database: Database, directory: string, signal: AbortSignal): Promise<void> {
  const partial = join(directory, PARTIAL);
  await removePartial(partial);
  try {
    signal.throwIfAborted();
    // From here on the file stands still, and changes gather in the journal.
    database.exec("PRAGMA wal_autocheckpoint = 0; PRAGMA wal_checkpoint(PASSIVE)");
    const verdict = await copy(database.location() ?? "", partial, signal);
    if (verdict !== "ok") throw new Failure("storage", `the backup of the index came out damaged: ${verdict}`);
    await rename(partial, join(directory, BACKUP_FILE));
    await syncDirectory(directory);
  } finally {
    if (database.isOpen) database.exec(`PRAGMA wal_autocheckpoint = ${CHECKPOINT_AFTER}`);
    await removePartial(partial);
  }
}

/** What a process that was killed left of one. */
export function forgetPartial(directory: string): void {
  for (const suffix of SUFFIXES) rmSync(join(directory, PARTIAL + suffix), { force: true });
}

async function removePartial(partial: string): Promise<void> {
  for (const suffix of SUFFIXES) await rm(partial + suffix, { force: true });
}

function copy(from: string, to: string, signal: AbortSignal): Promise<string> {
  return new Promise((resolve, reject) => {
    const worker = new Worker(THREAD, { name: "backup", workerData: { from, to } });
    const end = () => void worker.terminate();
    let verdict: string | undefined;
    let trouble: unknown;
    worker.once("message", (message) => {
      verdict = String(message);
    });
    worker.once("error", (error) => {
      trouble = error;
    });
    // Only with its end are its files closed.
    worker.once("exit", () => {
      signal.removeEventListener("abort", end);
      if (signal.aborted) reject(signal.reason);
      else if (verdict !== undefined) resolve(verdict);
      else reject(new Failure("storage", "the index could not be copied", { cause: trouble }));
    });
    signal.addEventListener("abort", end, { once: true });
    if (signal.aborted) end();
  });
}

async function syncDirectory(directory: string): Promise<void> {
  await using handle = await open(directory, "r");
  await handle.sync();
}
