/**
 * A disk whose machine loses its power: what was written since the last sync may be gone, or be zeros, and names whose
 * directory was not synced may be undone. Each loss is one that POSIX allows, chosen at random.
 */
import {
  constants,
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { dirname, join, relative } from "node:path";
import { type Files, systemFiles } from "../../src/store/files.ts";

const NOTHING = Buffer.alloc(0);

interface Change {
  /** The directory that has to be synced for it to last. */
  readonly directory: string;
  readonly from: string;
  /** Undefined where it was removed. */
  readonly to: string | undefined;
  readonly synced: Buffer;
}

export class LosableFiles implements Files {
  readonly #paths = new Map<number, string>();
  /** What is on the disk of each file, whatever happens. */
  readonly #synced = new Map<string, Buffer>();
  #changes: Change[] = [];

  async open(path: string, flags: number, mode?: number): Promise<number> {
    const fd = await systemFiles.open(path, flags, mode);
    this.#paths.set(fd, path);
    if ((flags & constants.O_CREAT) !== 0) this.#synced.set(path, NOTHING);
    return fd;
  }

  async fdatasync(fd: number): Promise<void> {
    const bytes = readFileSync(`/proc/self/fd/${fd}`);
    await systemFiles.fdatasync(fd);
    this.#synced.set(this.#paths.get(fd) ?? "", bytes);
  }

  async fsync(fd: number): Promise<void> {
    await systemFiles.fsync(fd);
    this.#changes = this.#changes.filter(({ directory }) => directory !== this.#paths.get(fd));
  }

  async rename(from: string, to: string): Promise<void> {
    await systemFiles.rename(from, to);
    this.#renamed(from, to);
  }

  renameNow = (from: string, to: string): void => {
    systemFiles.renameNow(from, to);
    this.#renamed(from, to);
  };

  async copy(from: string, to: string): Promise<void> {
    await systemFiles.copy(from, to);
    this.#synced.set(to, NOTHING);
  }

  async unlink(path: string): Promise<void> {
    await systemFiles.unlink(path);
    this.#changes.push({
      directory: dirname(path),
      from: path,
      to: undefined,
      synced: this.#synced.get(path) ?? NOTHING,
    });
  }

  /** Makes `target` what `root` would be after the power came back. */
  cut(root: string, target: string, random: () => number): void {
    for (const entry of readdirSync(root, { recursive: true, withFileTypes: true })) {
      const path = join(entry.parentPath, entry.name);
      const to = join(target, relative(root, path));
      if (entry.isDirectory()) mkdirSync(to, { recursive: true });
      else if (!path.includes(".sqlite")) this.#lose(root, target, path, random);
    }
    // Its write-ahead log is not synced with every transaction: it may end anywhere.
    for (const name of ["index.sqlite", "index.sqlite-wal"]) {
      if (existsSync(join(root, name))) copyFileSync(join(root, name), join(target, name));
    }
    const log = join(target, "index.sqlite-wal");
    if (existsSync(log) && random() < 0.5) truncateSync(log, Math.floor(random() * statSync(log).size));
    for (const { from, to, synced } of this.#changes) {
      if (to === undefined && random() < 0.5) write(join(target, relative(root, from)), synced);
    }
  }

  #lose(root: string, target: string, path: string, random: () => number): void {
    // What is renamed just now, by a thread, is lost.
    if (!existsSync(path)) return;
    const now = readFileSync(path);
    const synced = this.#synced.get(path) ?? now;
    const zeros = Buffer.alloc(Math.max(0, now.length - synced.length));
    const choice = Math.floor(random() * 3);
    const bytes = choice === 0 ? now : choice === 1 ? Buffer.concat([synced, zeros]) : synced;
    const change = this.#changes.find(({ to }) => to === path);
    const isUndone = change !== undefined && random() < 0.5;
    write(join(target, relative(root, isUndone ? change.from : path)), bytes);
  }

  #renamed(from: string, to: string): void {
    const synced = this.#synced.get(from) ?? readFileSync(to);
    this.#synced.delete(from);
    this.#synced.set(to, synced);
    for (const [fd, path] of this.#paths) if (path === from) this.#paths.set(fd, to);
    this.#changes.push({ directory: dirname(to), from, to, synced });
  }

  close = systemFiles.close;
  fstat = systemFiles.fstat;
  write = systemFiles.write;
  ftruncate = systemFiles.ftruncate;
  fchmod = systemFiles.fchmod;
  mkdir = systemFiles.mkdir;
  list = systemFiles.list;
  freeBytes = systemFiles.freeBytes;
  exists = systemFiles.exists;
}

function write(path: string, bytes: Buffer): void {
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, bytes);
}
