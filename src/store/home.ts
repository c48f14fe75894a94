/**
 * The directory of the blobs, told from an empty one in its place, as where its file system is not mounted.
 *
 * A mark lies in it, and the same one beside it. Where they differ, nothing of what the index says may be taken for lost.
 * Where none could be written, a directory that is there is taken for the right one.
 */
import { randomUUID } from "node:crypto";
import { closeSync, existsSync, fsyncSync, openSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { Failure } from "../base/failure.ts";

/** Beside the directory, and in it. */
const MARK_BESIDE = "blobs.mark";
const MARK_WITHIN = ".mark";

export class Home {
  readonly #blobs: string;
  readonly #beside: string;
  readonly #within: string;
  #mark: string | undefined;

  constructor(root: string, blobs: string) {
    this.#blobs = blobs;
    this.#beside = join(root, MARK_BESIDE);
    this.#within = join(blobs, MARK_WITHIN);
  }

  /** Marks the directory, where that was never done. */
  open(): void {
    this.#mark = readMark(this.#beside);
    if (this.#mark === undefined) this.#settle();
  }

  /** @throws Failure `storage` where the directory is not the one that was marked. */
  expect(): void {
    if (this.#mark === undefined ? existsSync(this.#blobs) : readMark(this.#within) === this.#mark) return;
    const message = `${this.#blobs} is not the directory that blobs were stored in: is its file system not mounted?`;
    throw new Failure(
      "storage",
      `${message} The index keeps what it knows; where the blobs are gone for good, \`wharfinger scrub --rebuild\` says so`,
    );
  }

  /** From now on it is the right one, by somebody's word. */
  accept(): void {
    if (readMark(this.#within) !== this.#mark || this.#mark === undefined) this.#settle();
  }

  /** The one within first: were the other one alone there after a crash, the directory would be taken for another. */
  #settle(): void {
    try {
      const mark = readMark(this.#within) ?? randomUUID();
      writeMark(this.#within, mark);
      writeMark(this.#beside, mark);
      this.#mark = mark;
    } catch {
      // A full disk keeps nobody from starting; the next start tries again.
      this.#mark = readMark(this.#beside);
    }
  }
}

function readMark(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8").trim() || undefined;
  } catch {
    return undefined;
  }
}

function writeMark(path: string, mark: string): void {
  if (readMark(path) === mark) return;
  const partial = `${path}.partial`;
  writeFileSync(partial, `${mark}\n`, { flush: true });
  renameSync(partial, path);
  const directory = openSync(dirname(path), "r");
  try {
    fsyncSync(directory);
  } finally {
    closeSync(directory);
  }
}
