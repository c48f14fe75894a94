/**
 * Files of this machine, or of another one's copy below a root: absent is a value, unreadable is told.
 */
import { readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { errnoOf, messageOf } from "../../base/failure.ts";

const MAX_BYTES = 1024 * 1024;
const MAX_ENTRIES = 1000;

export interface FoundFile {
  /** With its root. */
  readonly path: string;
  readonly text: string;
  /** Why it cannot be read. */
  readonly fault: string | undefined;
}

export class Files {
  readonly #root: string;

  constructor(root: string) {
    this.#root = root;
  }

  /** Undefined where there is none. */
  find(path: string): FoundFile | undefined {
    const full = join(this.#root, path);
    try {
      if (statSync(full).size > MAX_BYTES) return { path: full, text: "", fault: "is larger than 1 MiB" };
      return { path: full, text: readFileSync(full, "utf8"), fault: undefined };
    } catch (error) {
      if (isAbsent(error)) return undefined;
      return { path: full, text: "", fault: messageOf(error) };
    }
  }

  /** Names in a directory; none where there is none. */
  list(path: string): readonly string[] {
    try {
      return readdirSync(join(this.#root, path)).sort().slice(0, MAX_ENTRIES);
    } catch {
      return [];
    }
  }

  pathOf(path: string): string {
    return join(this.#root, path);
  }
}

function isAbsent(error: unknown): boolean {
  const code = errnoOf(error);
  return code === "ENOENT" || code === "ENOTDIR";
}
