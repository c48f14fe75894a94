/**
 * Reads an archive from an untrusted stream: tar, as it is or compressed (gzip, zstd), one file after the other.
 *
 * Names lead nowhere but into the archive, no name comes twice, nothing but files, directories and links inside the archive
 * is let in, and what is not announced by a file's size is bounded: an archive that expands to endless zeros is refused.
 */
import { pipeline, Readable } from "node:stream";
import { createGunzip, createZstdDecompress } from "node:zlib";
import { type Extract, extract, type Header } from "tar-stream";
import { Failure, isFailure, messageOf } from "../base/failure.ts";
import { excerpt } from "./names.ts";

export interface ArchiveEntry {
  /** Relative, without `.` and `..`. */
  readonly name: string;
  readonly sizeBytes: number;
  /** Of a symbolic link: where it leads to, inside the archive. */
  readonly linkTo: string | undefined;
  /** Its bytes; those that are not read are skipped. @throws Failure where the archive breaks off. */
  chunks(): AsyncIterable<Buffer>;
}

const MAX_ENTRIES = 500_000;
const MAX_NAME = 400;
/** Headers, padding, long names of one entry. */
const ENTRY_OVERHEAD = 64 * 1024;
/** Empty blocks at the end: some writers fill up a record. */
const SLACK = 1024 * 1024;

/**
 * The files of an archive, in its order; directories are left out. The source is destroyed when the loop is left.
 * @throws Failure `corrupt` (truncated, no archive), `invalid` (what it holds is not let in).
 */
export async function* readArchive(source: Readable): AsyncGenerator<ArchiveEntry> {
  const budget = new Budget();
  const tar = extract();
  let failure: unknown;
  const fed = feed(source, tar, budget).catch((error: unknown) => {
    failure ??= error;
    tar.destroy(error instanceof Error ? error : new Error(String(error)));
  });
  const seen = new Set<string>();
  try {
    for await (const entry of tar) {
      const { size } = entry.header;
      budget.announce(size);
      const admitted = admit(entry.header, seen);
      const chunks = () => chunksOf(entry, (error) => asFailure(failure ?? error));
      if (admitted !== undefined) yield { ...admitted, chunks };
      // Whatever of it nobody wanted.
      entry.resume();
    }
    await fed;
    if (failure !== undefined) throw failure;
    if (seen.size === 0) throw new Failure("corrupt", "the archive is empty, or no tar archive");
  } catch (error) {
    throw asFailure(failure ?? error);
  } finally {
    tar.destroy(null);
    source.destroy();
    await fed;
  }
}

/** A small file. @throws Failure `invalid` where it is larger than that. */
export async function readWhole(entry: ArchiveEntry, limit: number): Promise<Buffer> {
  if (entry.sizeBytes > limit)
    throw new Failure("invalid", `the archive is refused: ${excerpt(entry.name)} is too large`);
  const chunks: Buffer[] = [];
  for await (const chunk of entry.chunks()) chunks.push(chunk);
  return Buffer.concat(chunks);
}

export async function* once(bytes: Buffer): AsyncGenerator<Buffer> {
  yield bytes;
}

/** Resolves when all bytes were taken, or nobody takes any more. */
async function feed(source: Readable, tar: Extract, budget: Budget): Promise<void> {
  for await (const chunk of await expanded(source)) {
    budget.spend(chunk.length);
    if (tar.destroyed) return;
    if (tar.write(chunk)) continue;
    await new Promise<void>((resolve) => {
      const go = () => {
        tar.off("drain", go).off("close", go);
        resolve();
      };
      tar.on("drain", go).on("close", go);
    });
  }
  tar.end(null);
}

/** The bytes of a source, whatever it was compressed with. */
async function expanded(source: Readable): Promise<AsyncIterable<Buffer>> {
  const chunks: AsyncIterator<Buffer> = source[Symbol.asyncIterator]();
  let first = Buffer.alloc(0);
  let isOver = false;
  while (first.length < 4 && !isOver) {
    const { done, value } = await chunks.next();
    if (done === true) isOver = true;
    else first = Buffer.concat([first, value]);
  }
  async function* all(): AsyncGenerator<Buffer> {
    if (first.length > 0) yield first;
    if (isOver) return;
    for await (const chunk of { [Symbol.asyncIterator]: () => chunks }) yield chunk;
  }
  const foreign = foreignCompression(first);
  if (foreign !== undefined) {
    const [name, unpacker] = foreign;
    const advice = `unpack it first: ${unpacker} ARCHIVE | wharfinger import -`;
    throw new Failure("unsupported", `the archive is compressed with ${name}, which is not read here; ${advice}`);
  }
  const inflate = decompressorOf(first);
  return inflate === undefined ? all() : pipeline(Readable.from(all()), inflate, () => {});
}

/** What of an archive is not bytes of its files. */
class Budget {
  #allowed = SLACK;
  #seen = 0;

  /** @throws Failure `invalid` where too much has come that no file announced. */
  spend(bytes: number): void {
    // What comes in one piece may run ahead of what was announced so far.
    if (this.#seen > this.#allowed) throw new Failure("invalid", "the archive is refused: it is padded beyond reason");
    this.#seen += bytes;
  }

  announce(sizeBytes: number): void {
    this.#allowed += sizeBytes + ENTRY_OVERHEAD;
  }
}

function admit(header: Header, seen: Set<string>): Omit<ArchiveEntry, "chunks"> | undefined {
  const name = checkedName(header.name);
  const told = excerpt(header.name);
  if (Object.keys(paxOf(header)).some((key) => key.startsWith("GNU.sparse"))) throw refusal(told, "is a sparse file");
  const { size } = header;
  if (!Number.isSafeInteger(size) || size < 0) throw refusal(told, "has no sensible size");
  if (header.type === "directory") return undefined;
  if (header.type !== "file" && header.type !== "contiguous-file" && header.type !== "symlink") {
    throw refusal(told, `is ${header.type ?? "of an unknown kind"}: only files are let in`);
  }
  if (seen.has(name)) throw refusal(told, "is there twice");
  if (seen.size >= MAX_ENTRIES) throw new Failure("invalid", `the archive has more than ${MAX_ENTRIES} files`);
  seen.add(name);
  const linkTo = header.type === "symlink" ? linkOf(name, header.linkname ?? "") : undefined;
  if (linkTo === undefined && header.type === "symlink") throw refusal(told, "is a link that leads out of the archive");
  return { name, sizeBytes: linkTo === undefined ? size : 0, linkTo };
}

/** @param explain what reading failed with, in our words. */
async function* chunksOf(entry: AsyncIterable<unknown>, explain: (error: unknown) => Failure): AsyncGenerator<Buffer> {
  const chunks = entry[Symbol.asyncIterator]();
  try {
    for (;;) {
      const { done, value } = await chunks.next().catch((error: unknown) => {
        throw explain(error);
      });
      if (done === true) return;
      if (Buffer.isBuffer(value)) yield value;
    }
  } finally {
    // Left before its end: the archive is given up.
    await chunks.return?.();
  }
}

/** `./blobs/x` is `blobs/x`. @throws Failure `invalid` for what leads elsewhere. */
function checkedName(name: string): string {
  const parts = name.replace(/\/+$/, "").split("/");
  if (parts[0] === "." && parts.length > 1) parts.shift();
  const isRoot = parts.length === 1 && (parts[0] === "." || parts[0] === "");
  if (isRoot && name !== "" && !name.startsWith("/")) return ".";
  const isGood = parts.every((part) => part !== "" && part !== "." && part !== ".." && !/[\\\p{Cc}]/u.test(part));
  if (!isGood || name.length > MAX_NAME) throw refusal(excerpt(name), "is a name that is not let in");
  return parts.join("/");
}

/** Where a link leads to, from where it is; undefined where that is outside. */
function linkOf(from: string, target: string): string | undefined {
  if (target === "" || target.startsWith("/") || target.length > MAX_NAME) return undefined;
  const path = from.split("/").slice(0, -1);
  for (const part of target.split("/")) {
    if (part === "..") {
      if (path.pop() === undefined) return undefined;
    } else if (part !== "." && part !== "") path.push(part);
  }
  return path.length === 0 ? undefined : path.join("/");
}

function paxOf(header: object): object {
  const pax: unknown = Reflect.get(header, "pax");
  return typeof pax === "object" && pax !== null ? pax : {};
}

function foreignCompression(first: Buffer): readonly [string, string] | undefined {
  const start = first.toString("latin1", 0, 4);
  if (start === "\xfd7zX") return ["xz", "xzcat"];
  if (start.startsWith("BZh")) return ["bzip2", "bzcat"];
  if (start === "\x04\x22\x4d\x18") return ["lz4", "lz4cat"];
  return undefined;
}

function decompressorOf(first: Buffer) {
  if (first[0] === 0x1f && first[1] === 0x8b) return createGunzip();
  if (first.length >= 4 && first.readUInt32LE(0) === 0xfd2fb528) return createZstdDecompress();
  return undefined;
}

function asFailure(error: unknown): Failure {
  if (isFailure(error)) return error;
  const text = messageOf(error);
  const truncated = /unexpected end|premature|aborted|closed/i.test(text);
  const what = truncated ? "the archive breaks off" : `the archive cannot be read: ${text}`;
  return new Failure("corrupt", what, { cause: error, detail: { truncated } });
}

function refusal(name: string, why: string): Failure {
  return new Failure("invalid", `the archive is refused: "${name}" ${why}`);
}
