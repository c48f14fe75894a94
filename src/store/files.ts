/**
 * The system calls of the store, as one small object: whoever wants to see what a disk does that fails, hands another.
 *
 * Everything that changes the cache directory goes by here, and every descriptor is opened here. Calls reject with what
 * the system said, its `code` included; what is done about it is decided by the caller.
 */
import {
  close,
  copyFile,
  existsSync,
  fchmod,
  fdatasync,
  fstat,
  fsync,
  ftruncate,
  open,
  readdir,
  rename,
  renameSync,
  statfs,
  unlink,
  write,
} from "node:fs";
import { promisify } from "node:util";
import { type FileIdentity, identityOf } from "./condemned.ts";
import { makeDirectories } from "./directories.ts";

export interface FileState {
  readonly isFile: boolean;
  readonly sizeBytes: number;
  identity(): FileIdentity;
}

export interface Files {
  open(path: string, flags: number, mode?: number): Promise<number>;
  /** Says nothing of failures: what matters was synced by then. */
  close(fd: number): void;
  fstat(fd: number): Promise<FileState>;
  /** @returns how many bytes were written, which may be fewer. */
  write(fd: number, bytes: Uint8Array, from: number, length: number, at: number): Promise<number>;
  ftruncate(fd: number, sizeBytes: number): Promise<void>;
  fdatasync(fd: number): Promise<void>;
  /** For directories. */
  fsync(fd: number): Promise<void>;
  fchmod(fd: number, mode: number): Promise<void>;
  rename(from: string, to: string): Promise<void>;
  /** Within microseconds, so that nothing can come between. */
  renameNow(from: string, to: string): void;
  copy(from: string, to: string): Promise<void>;
  unlink(path: string): Promise<void>;
  /** With its parents. @returns the first that was made. */
  mkdir(path: string): Promise<string | undefined>;
  /** Names in a directory. */
  list(path: string): Promise<string[]>;
  /** What the file system that `path` is on still has for us. */
  freeBytes(path: string): Promise<number>;
  exists(path: string): boolean;
  /** Another thread to hash and write in than the store's own, which it must run. */
  readonly thread?: { readonly url: URL; readonly data: unknown };
}

const fstatAsync = promisify(fstat);
const statfsAsync = promisify(statfs);

export const systemFiles: Files = {
  open: promisify(open),
  close: (fd) => close(fd, () => {}),
  async fstat(fd) {
    const stats = await fstatAsync(fd);
    return { isFile: stats.isFile(), sizeBytes: stats.size, identity: () => identityOf(stats) };
  },
  write: (fd, bytes, from, length, at) =>
    new Promise((resolve, reject) => {
      write(fd, bytes, from, length, at, (error, count) => (error === null ? resolve(count) : reject(error)));
    }),
  ftruncate: promisify(ftruncate),
  fdatasync: promisify(fdatasync),
  fsync: promisify(fsync),
  fchmod: promisify(fchmod),
  rename: promisify(rename),
  renameNow: renameSync,
  copy: promisify(copyFile),
  unlink: promisify(unlink),
  mkdir: makeDirectories,
  list: promisify(readdir),
  async freeBytes(path) {
    const { bavail, bsize } = await statfsAsync(path);
    return bavail * bsize;
  },
  exists: existsSync,
};
