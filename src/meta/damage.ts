/**
 * A connection that notices when the file under it is damaged, in whatever statement that shows.
 *
 * It is told once, over all processes of a mirror, and a marker is left that has the next opening rebuild the index.
 * Until then what cannot be read is absent, so that the upstream is asked; what cannot be written fails, as does what is
 * read within a transaction: nothing is decided on half of the rows.
 */
import { existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import {
  DatabaseSync,
  type DatabaseSyncOptions,
  type SQLInputValue,
  type SQLOutputValue,
  type StatementSync,
} from "node:sqlite";
import { errnoOf, messageOf } from "../base/failure.ts";

const MARKER = "index.condemned";

const SQLITE_ERROR = 1;
const SQLITE_CORRUPT = 11;
const SQLITE_FULL = 13;
const SQLITE_NOTADB = 26;
const SQLITE_BUSY = 5;
const SQLITE_LOCKED = 6;

type Values = SQLInputValue[];
type Row = Record<string, SQLOutputValue>;
type Changes = ReturnType<StatementSync["run"]>;

/** Told of the first damage that is found; the text says what was found. */
export type DamageListener = (found: Error) => void;

/** True for what SQLite complains of, at opening or later. */
export function isDatabaseError(error: unknown): boolean {
  return errnoOf(error) === "ERR_SQLITE_ERROR";
}

/** True where the file itself is what is wrong. */
export function isDamage(error: unknown): boolean {
  // No number of ours is that large: flipped bits are read as one.
  if (errnoOf(error) === "ERR_OUT_OF_RANGE") return true;
  const code = resultCodeOf(error);
  return code === SQLITE_CORRUPT || code === SQLITE_NOTADB;
}

/** True where a table or column is not what it should be, too: opening the index anew rebuilds it. */
export function isCuredByReopening(error: unknown): boolean {
  return isDamage(error) || resultCodeOf(error) === SQLITE_ERROR;
}

export function isFull(error: unknown): boolean {
  return resultCodeOf(error) === SQLITE_FULL;
}

export function isBusy(error: unknown): boolean {
  const code = resultCodeOf(error);
  return code === SQLITE_BUSY || code === SQLITE_LOCKED;
}

/** The primary result code (sqlite.org/rescode.html): extended ones have it in their lowest byte. */
function resultCodeOf(error: unknown): number | undefined {
  if (!isDatabaseError(error) || typeof error !== "object" || error === null || !("errcode" in error)) return undefined;
  return typeof error.errcode === "number" ? error.errcode & 0xff : undefined;
}

/** Why the index in this directory must be rebuilt, where something found that. */
export function findCondemned(directory: string): string | undefined {
  const path = join(directory, MARKER);
  if (!existsSync(path)) return undefined;
  try {
    // On a full disk there was no room for a reason.
    return readFileSync(path, "utf8").slice(0, 500) || "it was found to be damaged";
  } catch (error) {
    return messageOf(error);
  }
}

/** @returns true where nobody had said so before. */
export function condemn(directory: string, found: unknown): boolean {
  try {
    writeFileSync(join(directory, MARKER), messageOf(found), { flag: "wx" });
    return true;
  } catch (error) {
    return errnoOf(error) !== "EEXIST";
  }
}

export function acquit(directory: string): void {
  rmSync(join(directory, MARKER), { force: true });
}

export class WatchedDatabase extends DatabaseSync {
  readonly #directory: string;
  #listener: DamageListener | undefined;
  #found: Error | undefined;
  #writes = 0;

  constructor(path: string, options: DatabaseSyncOptions, directory: string) {
    super(path, options);
    this.#directory = directory;
  }

  /** The first damage that was found through this connection. */
  get found(): Error | undefined {
    return this.#found;
  }

  /** How often rows were written through this connection; what the index notes of its own life is none of them. */
  get writes(): number {
    return this.#writes;
  }

  /** @param listener is told at once of what was found before. */
  onDamage(listener: DamageListener): void {
    this.#listener = listener;
    if (this.#found !== undefined) listener(this.#found);
  }

  override exec(sql: string): void {
    try {
      super.exec(sql);
    } catch (error) {
      this.#judge(error);
      throw error;
    }
  }

  override prepare(sql: string): StatementSync {
    const statement = super.prepare(sql);
    // The prototype's are looked up at each call: what stands in for them in a test counts as well.
    const own: StatementSync = Object.getPrototypeOf(statement);
    const isWork = !/\bfacts\b/.test(sql);
    const readOr = <Rows>(read: () => Rows, nothing: Rows): Rows => {
      try {
        return read();
      } catch (error) {
        if (this.#judge(error) && !this.isTransaction) return nothing;
        throw error;
      }
    };
    return Object.assign(statement, {
      get: (...values: Values): Row | undefined =>
        readOr<Row | undefined>(() => Reflect.apply(own.get, statement, values), undefined),
      all: (...values: Values): Row[] => readOr<Row[]>(() => Reflect.apply(own.all, statement, values), []),
      run: (...values: Values): Changes => {
        if (isWork) this.#writes += 1;
        try {
          return Reflect.apply(own.run, statement, values);
        } catch (error) {
          this.#judge(error);
          throw error;
        }
      },
    });
  }

  /** @returns true for damage. */
  #judge(error: unknown): boolean {
    if (!isDamage(error)) return false;
    if (this.#found !== undefined) return true;
    this.#found = error instanceof Error ? error : new Error(String(error));
    if (this.#listener !== undefined && condemn(this.#directory, error)) this.#listener(this.#found);
    return true;
  }
}
