/**
 * One process per cache directory: who holds it, and who is told so.
 *
 * `lock.sqlite` is held locked while a mirror has the directory; the kernel lets go of it however the process ends.
 * `owner.json` says who that is, for people: it is written after the lock was taken, and never asked whether it is.
 */
import { readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { hostname } from "node:os";
import { basename, join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { Failure, messageOf } from "../base/failure.ts";
import { isBusy, isDamage } from "./damage.ts";

const LOCK = "lock.sqlite";
const OWNER = "owner.json";
const MAX_OWNER_BYTES = 4096;

export interface DirectoryHold {
  release(): void;
}

/** @throws Failure `storage`: another process holds it, which is named; or nothing can be locked there. */
export function holdDirectory(directory: string): DirectoryHold {
  const lock = lockIn(directory);
  const owner = join(directory, OWNER);
  try {
    writeFileSync(owner, `${JSON.stringify(ownOwner())}\n`);
  } catch {
    // On a full disk whoever comes second is told less.
  }
  return {
    release() {
      rmSync(owner, { force: true });
      lock.close();
    },
  };
}

function lockIn(directory: string): DatabaseSync {
  const path = join(directory, LOCK);
  try {
    return lockFile(path);
  } catch (cause) {
    if (isBusy(cause)) throw inUse(directory, cause);
    if (!isDamage(cause)) throw cannotLock(path, cause);
  }
  try {
    // Nobody holds it, or it would be busy. It is emptied and not replaced: a lock is on the file, not on its name.
    truncateSync(path, 0);
    return lockFile(path);
  } catch (cause) {
    throw isBusy(cause) ? inUse(directory, cause) : cannotLock(path, cause);
  }
}

function lockFile(path: string): DatabaseSync {
  const lock = new DatabaseSync(path, { timeout: 0 });
  try {
    // With its journal in memory nothing is written: on a full disk there is a lock as well.
    lock.exec("PRAGMA journal_mode = MEMORY; BEGIN EXCLUSIVE");
    return lock;
  } catch (error) {
    lock.close();
    throw error;
  }
}

function cannotLock(path: string, cause: unknown): Failure {
  const advice = "The cache directory must be one that this process may write";
  return new Failure("storage", `cannot lock ${path}: ${messageOf(cause)}. ${advice}.`, { cause });
}

export function inUse(directory: string, cause: unknown): Failure {
  const who = findOwner(directory);
  const text = who === undefined ? "" : `: ${who}`;
  return new Failure("storage", `the cache directory ${directory} is in use by another process${text}`, { cause });
}

interface Owner {
  readonly pid: number;
  readonly host: string;
  readonly command: string;
  /** ISO 8601. */
  readonly since: string;
}

function ownOwner(): Owner {
  // Words only: values of flags are nobody's business.
  const words = process.argv.slice(2).filter((word) => /^[a-z]{1,20}$/.test(word));
  const program = basename(process.argv[1] ?? process.execPath);
  const command = [program, words[0]].filter((word) => word !== undefined).join(" ");
  return { pid: process.pid, host: hostname(), command, since: new Date().toISOString() };
}

/** As a person reads it; undefined where it does not say. */
function findOwner(directory: string): string | undefined {
  try {
    const text = readFileSync(join(directory, OWNER), "utf8").slice(0, MAX_OWNER_BYTES);
    const { pid, host, command, since } = JSON.parse(text) as Partial<Record<keyof Owner, unknown>>;
    if (typeof pid !== "number" || typeof since !== "string") return undefined;
    const where = host === hostname() ? "" : ` on ${printable(host)}`;
    return `pid ${pid}${where} (${printable(command)}), since ${printable(since)}`;
  } catch {
    return undefined;
  }
}

function printable(value: unknown): string {
  return String(value)
    .replace(/[^\x20-\x7e]/g, "?")
    .slice(0, 100);
}
