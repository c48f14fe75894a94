/**
 * The thread that reads stored files and hashes them, a piece for each order, so that others decide how fast.
 *
 * It changes nothing. Descriptors it still holds when it is ended are closed with it.
 */
import { createHash, type Hash } from "node:crypto";
import { closeSync, constants, fstatSync, lstatSync, openSync, readSync } from "node:fs";
import { parentPort } from "node:worker_threads";
import { errnoOf, messageOf } from "../base/failure.ts";
import { type Digest, type DigestAlgorithm, finishDigest } from "../oci/digest.ts";
import { type FileIdentity, identityOf } from "../store/condemned.ts";

export type Order =
  | {
      readonly do: "open";
      readonly id: number;
      readonly path: string;
      readonly algorithm: DigestAlgorithm;
      readonly limitBytes: number;
    }
  | { readonly do: "read"; readonly id: number; readonly limitBytes: number }
  | { readonly do: "drop"; readonly id: number };

/** What a file turned out to be. */
export type Finding =
  | { readonly found: "missing" }
  | { readonly found: "content"; readonly digest: Digest; readonly sizeBytes: number; readonly identity: FileIdentity }
  | { readonly found: "no-file"; readonly what: string; readonly identity: FileIdentity }
  | { readonly found: "unreadable"; readonly message: string; readonly identity: FileIdentity | undefined }
  /** Nothing is wrong with it as far as anyone can tell: this process lacks something. */
  | { readonly found: "unchecked"; readonly message: string };

export interface Report {
  readonly id: number;
  readonly readBytes: number;
  /** Undefined while there is more to read. */
  readonly finding: Finding | undefined;
}

const BUFFER_BYTES = 1024 * 1024;
/** What the disk answers for. The rest is this process', which may lack descriptors or leave to read it, and may pass. */
const ITS_OWN = new Set(["EIO", "EUCLEAN", "EBADMSG", "EFSCORRUPTED", "ELOOP", "EINVAL"]);

interface OpenedFile {
  readonly fd: number;
  readonly algorithm: DigestAlgorithm;
  readonly hash: Hash;
  at: number;
}

const files = new Map<number, OpenedFile>();
const buffer = Buffer.allocUnsafeSlow(BUFFER_BYTES);

function obey(order: Order): Report | undefined {
  const { id } = order;
  if (order.do === "drop") {
    close(id);
    return undefined;
  }
  try {
    if (order.do === "open") {
      const other = open(id, order.path, order.algorithm);
      if (other !== undefined) return { id, readBytes: 0, finding: other };
    }
    return read(id, order.limitBytes);
  } catch (error) {
    const file = files.get(id);
    const finding = judge(error, () => (file === undefined ? identityAt(order) : identityOf(fstatSync(file.fd))));
    close(id);
    return { id, readBytes: 0, finding };
  }
}

function open(id: number, path: string, algorithm: DigestAlgorithm): Finding | undefined {
  const stats = lstatSync(path);
  if (!stats.isFile()) {
    const what = stats.isDirectory() ? "a directory" : "no regular file";
    return { found: "no-file", what, identity: identityOf(stats) };
  }
  const fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOFOLLOW);
  files.set(id, { fd, algorithm, hash: createHash(algorithm), at: 0 });
  return undefined;
}

function read(id: number, limitBytes: number): Report {
  const file = files.get(id);
  if (file === undefined) throw new Error("read before it was opened");
  let readBytes = 0;
  while (readBytes < limitBytes) {
    const count = readSync(file.fd, buffer, 0, Math.min(buffer.length, limitBytes - readBytes), file.at);
    if (count === 0) {
      // Asked for at the end: what was written to it meanwhile makes it another file than the one that was read.
      const stats = fstatSync(file.fd);
      const digest = finishDigest(file.algorithm, file.hash);
      close(id);
      return { id, readBytes, finding: { found: "content", digest, sizeBytes: file.at, identity: identityOf(stats) } };
    }
    file.hash.update(count === buffer.length ? buffer : buffer.subarray(0, count));
    file.at += count;
    readBytes += count;
  }
  return { id, readBytes, finding: undefined };
}

/** Whether a file that fails like this is damaged. */
export function isDamage(code: string | undefined): boolean {
  return code !== undefined && ITS_OWN.has(code);
}

/** @param identity of the file that was read: by its name there may be another one by now. */
function judge(error: unknown, identity: () => FileIdentity | undefined): Finding {
  const code = errnoOf(error);
  if (code === "ENOENT" || code === "ENOTDIR") return { found: "missing" };
  const message = messageOf(error);
  return isDamage(code)
    ? { found: "unreadable", message, identity: attempt(identity) }
    : { found: "unchecked", message };
}

function identityAt(order: Order): FileIdentity | undefined {
  return order.do === "open" ? identityOf(lstatSync(order.path)) : undefined;
}

function attempt(identity: () => FileIdentity | undefined): FileIdentity | undefined {
  try {
    return identity();
  } catch {
    return undefined;
  }
}

function close(id: number): void {
  const file = files.get(id);
  if (files.delete(id) && file !== undefined) closeSync(file.fd);
}

const port = parentPort;
port?.on("message", (order: Order) => {
  const report = obey(order);
  if (report !== undefined) port.postMessage(report);
});
