/**
 * Bundles as directories: packed into the archive that they would be, and unpacked beside their final name, which they
 * get when they are whole.
 */
import { randomBytes } from "node:crypto";
import { createReadStream } from "node:fs";
import { lstat, mkdir, open, readdir, rename, rm, rmdir } from "node:fs/promises";
import { dirname, join } from "node:path";
import { Readable } from "node:stream";
import { errnoOf, Failure, isFailure, messageOf } from "../base/failure.ts";
import { makeDirectories } from "../store/directories.ts";
import { readArchive } from "./archive.ts";
import { CONTENTS_FILE } from "./contents.ts";
import { INDEX_FILE, LAYOUT_FILE } from "./layout.ts";
import { SIGNATURE_FILE } from "./signature.ts";
import { END, headerOf, paddingOf } from "./tarball.ts";

/** Where these come in an archive: what says how to read the rest first. */
const FIRST = [CONTENTS_FILE, SIGNATURE_FILE, LAYOUT_FILE, INDEX_FILE];

export interface Packed {
  readonly body: Readable;
  /** Of all its files. */
  readonly sizeBytes: number;
}

/** A layout's directory as a tar stream. @throws Failure `invalid` where it is none. */
export async function packDirectory(directory: string): Promise<Packed> {
  const names = await filesBelow(directory);
  if (!names.includes(LAYOUT_FILE))
    throw new Failure("invalid", `${directory} is no image layout: it has no ${LAYOUT_FILE}`);
  let sizeBytes = 0;
  for (const name of names) sizeBytes += (await lstat(join(directory, name))).size;
  async function* bytes(): AsyncGenerator<Buffer> {
    for (const name of names) {
      const path = join(directory, name);
      const { size } = await lstat(path);
      yield headerOf(name, size);
      let read = 0;
      if (size > 0) {
        for await (const chunk of createReadStream(path, { end: size - 1, highWaterMark: 256 * 1024 })) {
          read += chunk.length;
          yield chunk;
        }
      }
      if (read !== size) throw new Failure("storage", `${path} was changed while it was read`);
      const padding = paddingOf(size);
      if (padding.length > 0) yield padding;
    }
    yield END;
  }
  return { body: Readable.from(bytes(), { objectMode: false }), sizeBytes };
}

/** In the order of an archive; nothing but what belongs to a layout. */
async function filesBelow(directory: string): Promise<string[]> {
  const names: string[] = [];
  try {
    for (const entry of await readdir(directory, { recursive: true, withFileTypes: true })) {
      const name = join(entry.parentPath, entry.name).slice(directory.replace(/\/+$/, "").length + 1);
      if (entry.isFile() && (FIRST.includes(name) || /^blobs\/[a-z0-9]+\/[a-f0-9]+$/.test(name))) names.push(name);
    }
  } catch (cause) {
    throw new Failure("invalid", `${directory} cannot be read: ${messageOf(cause)}`, { cause });
  }
  const rank = (name: string) => (FIRST.indexOf(name) + FIRST.length + 1) % (FIRST.length + 1);
  return names.sort((one, other) => rank(one) - rank(other) || (one < other ? -1 : 1));
}

/**
 * Unpacks a bundle that we wrote into a new directory, or an empty one.
 * @throws Failure `invalid` where there is something already; `storage`; nothing of it is left then.
 */
export async function unpackInto(directory: string, archive: Readable): Promise<void> {
  const partial = `${directory.replace(/\/+$/, "")}.${randomBytes(4).toString("hex")}.partial`;
  try {
    await requireEmpty(directory);
    await makeDirectories(partial);
    for await (const { name, chunks } of readArchive(archive)) {
      const path = join(partial, name);
      await mkdir(dirname(path), { recursive: true });
      const file = await open(path, "wx", 0o644);
      try {
        for await (const chunk of chunks()) await file.write(chunk);
        await file.datasync();
      } finally {
        await file.close();
      }
    }
    await rmdir(directory).catch((error: unknown) => {
      if (errnoOf(error) !== "ENOENT") throw error;
    });
    await rename(partial, directory);
  } catch (error) {
    archive.destroy();
    await rm(partial, { recursive: true, force: true });
    if (isFailure(error)) throw error;
    throw new Failure("storage", `cannot write ${directory}: ${messageOf(error)}`, { cause: error });
  }
}

/** @throws Failure `invalid` */
export async function requireEmpty(directory: string): Promise<void> {
  try {
    if ((await readdir(directory)).length === 0) return;
  } catch (cause) {
    if (errnoOf(cause) === "ENOENT") return;
    throw new Failure("invalid", `${directory} cannot be written to: ${messageOf(cause)}`, { cause });
  }
  throw new Failure("invalid", `${directory} is not empty: a bundle is written into a directory of its own`);
}
