/**
 * A disk that fails when it is told to: any call of the store, at any time, with any error; the writes of the thread too.
 *
 * What fails does nothing. The others go to the real file system.
 */
import { type Files, systemFiles } from "../../src/store/files.ts";

export const ERRNOS = ["ENOSPC", "EIO", "EMFILE", "EROFS", "ENOENT", "EXDEV"] as const;
export type Errno = (typeof ERRNOS)[number];
export type FileCall = Exclude<keyof Files, "thread" | "close" | "exists" | "renameNow">;
/** `threadWrite` is a write of the thread that bodies are written by. */
export type FaultyCall = FileCall | "threadWrite";

export interface DiskFault {
  readonly call: FaultyCall;
  readonly errno: Errno;
  /** How many calls are let through first. Default 0. */
  readonly skip?: number;
  /** How many fail then. Default all. */
  readonly times?: number;
  /** Only those whose path, or old name, contains this. For calls that take a path. */
  readonly path?: string;
}

interface Rule extends DiskFault {
  passed: number;
  failed: number;
}

export class FaultyFiles implements Files {
  readonly thread: NonNullable<Files["thread"]>;
  /** Every call, as `rename path`, in order. */
  readonly calls: string[] = [];
  readonly #files: Files;
  readonly #threadFault: Int32Array;
  readonly #rules: Rule[] = [];

  constructor(files: Files = systemFiles) {
    this.#files = files;
    const data = new SharedArrayBuffer(12);
    this.#threadFault = new Int32Array(data);
    this.thread = { url: new URL("./faulty-thread.ts", import.meta.url), data };
  }

  /** From now on. */
  fail(fault: DiskFault): void {
    if (fault.call !== "threadWrite") {
      this.#rules.push({ ...fault, passed: 0, failed: 0 });
      return;
    }
    this.#threadFault[1] = fault.skip ?? 0;
    this.#threadFault[2] = fault.times ?? 2 ** 30;
    this.#threadFault[0] = 1 + ERRNOS.indexOf(fault.errno);
  }

  /** All is well again. */
  heal(): void {
    this.#rules.length = 0;
    this.#threadFault.fill(0);
  }

  open = (path: string, flags: number, mode?: number) =>
    this.#do("open", path, () => this.#files.open(path, flags, mode));
  close = (fd: number) => this.#files.close(fd);
  fstat = (fd: number) => this.#do("fstat", fd, () => this.#files.fstat(fd));
  write = (fd: number, bytes: Uint8Array, from: number, length: number, at: number) =>
    this.#do("write", fd, () => this.#files.write(fd, bytes, from, length, at));
  ftruncate = (fd: number, sizeBytes: number) => this.#do("ftruncate", fd, () => this.#files.ftruncate(fd, sizeBytes));
  fdatasync = (fd: number) => this.#do("fdatasync", fd, () => this.#files.fdatasync(fd));
  fsync = (fd: number) => this.#do("fsync", fd, () => this.#files.fsync(fd));
  fchmod = (fd: number, mode: number) => this.#do("fchmod", fd, () => this.#files.fchmod(fd, mode));
  rename = (from: string, to: string) => this.#do("rename", from, () => this.#files.rename(from, to));
  copy = (from: string, to: string) => this.#do("copy", from, () => this.#files.copy(from, to));
  unlink = (path: string) => this.#do("unlink", path, () => this.#files.unlink(path));
  mkdir = (path: string) => this.#do("mkdir", path, () => this.#files.mkdir(path));
  list = (path: string) => this.#do("list", path, () => this.#files.list(path));
  freeBytes = (path: string) => this.#do("freeBytes", path, () => this.#files.freeBytes(path));
  renameNow = (from: string, to: string) => this.#files.renameNow(from, to);
  exists = (path: string) => this.#files.exists(path);

  async #do<T>(call: FileCall, on: string | number, work: () => Promise<T>): Promise<T> {
    this.calls.push(`${call} ${on}`);
    for (const rule of this.#rules) {
      if (rule.call !== call || (rule.path !== undefined && !String(on).includes(rule.path))) continue;
      rule.passed += 1;
      if (rule.passed <= (rule.skip ?? 0) || rule.failed >= (rule.times ?? Infinity)) continue;
      rule.failed += 1;
      throw diskError(rule.errno, call);
    }
    return await work();
  }
}

export function diskError(errno: string, call: string): Error {
  return Object.assign(new Error(`${errno}: injected, ${call}`), { code: errno, syscall: call });
}
