/**
 * What the system or the index said when the disk failed, in words, and what whoever runs the mirror can do about it. Pure.
 *
 * What is not in the list is no incident of the disk: a blob that is damaged, a policy that says no, a bug.
 */
import { errnoOf } from "../base/failure.ts";

export interface DiskFault {
  /** One of a closed set: it is a label of the metrics. */
  readonly errno: string;
  readonly why: string;
  readonly advice: string;
}

const FREE = "free space, or give the cache another directory";
const SOUND = "look into the kernel's log and at the disk; the cache can be moved by setting cache.dir";
const LIMIT = "raise the limit of open files (ulimit -n, LimitNOFILE=)";
const OWNER = "give the cache directory to the user that the mirror runs as";
const AGAIN = "see that nothing else removes or unmounts the cache directory; it is made again";

const FAULTS: Readonly<Record<string, readonly [why: string, advice: string]>> = {
  ENOSPC: ["the disk is full", FREE],
  EDQUOT: ["the quota of the cache's owner is used up", FREE],
  EFBIG: ["the file system takes no file of this size", FREE],
  EROFS: ["the file system is read-only", "remount it for writing; a disk that failed may have made it so"],
  EIO: ["the disk does not read or write", SOUND],
  ENXIO: ["the disk is gone", SOUND],
  ENODEV: ["the disk is gone", SOUND],
  ESTALE: ["the network file system has lost its files", SOUND],
  ETIMEDOUT: ["the network file system does not answer", SOUND],
  EMFILE: ["the mirror has too many files and connections open", LIMIT],
  ENFILE: ["the system has too many files open", LIMIT],
  ENOMEM: ["the system has no memory left", "give it more, or run less beside the mirror"],
  EACCES: ["the cache directory may not be used", OWNER],
  EPERM: ["the cache directory may not be used", OWNER],
  ENOENT: ["the cache directory, or a part of it, is gone", AGAIN],
  ENOTDIR: ["the cache directory, or a part of it, is gone", AGAIN],
  EXDEV: ["the cache directory is spread over several file systems", "mount one file system on the whole of it"],
  SQLITE_FULL: ["the index cannot be written: the disk is full", FREE],
  SQLITE_IOERR: ["the index cannot be read or written", SOUND],
  SQLITE_READONLY: ["the index is read-only", OWNER],
  SQLITE_CANTOPEN: ["the index cannot be opened", OWNER],
  SQLITE_BUSY: ["the index is held by another process", "let nothing else open the cache directory"],
  SQLITE_CORRUPT: ["the index is damaged", "restart the mirror: it makes the index again from the files"],
  SQLITE: ["the index cannot be used", SOUND],
};

const OTHER: DiskFault = { errno: "other", why: "the disk or the index failed", advice: SOUND };

/** By the lower byte of what SQLite says, and by its text, which is all that crosses processes. */
const SQLITE: readonly (readonly [code: number, text: RegExp, errno: string])[] = [
  [13, /database or disk is full/, "SQLITE_FULL"],
  [10, /disk I\/O error/, "SQLITE_IOERR"],
  [8, /readonly database/, "SQLITE_READONLY"],
  [14, /unable to open database/, "SQLITE_CANTOPEN"],
  [5, /database is locked/, "SQLITE_BUSY"],
  [6, /database table is locked/, "SQLITE_BUSY"],
  [11, /database disk image is malformed/, "SQLITE_CORRUPT"],
  [26, /file is not a database/, "SQLITE_CORRUPT"],
];

/** How far down its causes are looked for. */
const MAX_CAUSES = 5;

/** Undefined where nothing of it speaks of a disk or an index in trouble. */
export function findDiskFault(error: unknown): DiskFault | undefined {
  let at = error;
  for (let depth = 0; depth < MAX_CAUSES && at instanceof Error; depth += 1) {
    const errno = nameOf(at);
    const words = errno === undefined ? undefined : FAULTS[errno];
    if (errno !== undefined && words !== undefined) return { errno, why: words[0], advice: words[1] };
    at = at.cause;
  }
  return undefined;
}

/** Of what is known to be the disk's doing. */
export function diskFaultOf(error: unknown): DiskFault {
  return findDiskFault(error) ?? OTHER;
}

function nameOf(error: Error): string | undefined {
  const code = errnoOf(error);
  if (code === "ERR_SQLITE_ERROR") {
    const number = "errcode" in error && typeof error.errcode === "number" ? error.errcode & 0xff : undefined;
    return SQLITE.find(([known]) => known === number)?.[2] ?? "SQLITE";
  }
  if (code !== undefined && code in FAULTS) return code;
  const said = /\bE[A-Z]{2,}\b/.exec(error.message)?.[0];
  if (said !== undefined && said in FAULTS) return said;
  return SQLITE.find(([, text]) => text.test(error.message))?.[2];
}
