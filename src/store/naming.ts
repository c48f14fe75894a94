/**
 * From a verified partial file to a stored blob: durable first, then read-only, then named, then the name durable too.
 *
 * A name never stands for bytes that a power cut could take back; what fails on the way leaves neither a name nor a
 * file. Where partial files are on another device, the bytes are copied beside the blobs first.
 */
import { constants } from "node:fs";
import { dirname } from "node:path";
import { errnoOf } from "../base/failure.ts";
import type { Files } from "./files.ts";

export interface Naming {
  readonly partial: string;
  /** Where a copy lies before it has its name, on the device of the blobs. */
  readonly incoming: string;
  /** Makes the directory of the final name and returns that name. */
  final(): Promise<string>;
}

export async function settleFile(files: Files, fd: number, { partial, incoming, final }: Naming): Promise<void> {
  let named: string | undefined;
  try {
    await files.fdatasync(fd);
    await files.fchmod(fd, 0o444);
    const name = await final();
    await move(files, partial, incoming, name);
    named = name;
    await syncDirectory(files, dirname(name));
  } catch (cause) {
    for (const path of named === undefined ? [partial] : [named]) await files.unlink(path).catch(() => {});
    throw cause;
  }
}

async function move(files: Files, partial: string, incoming: string, name: string): Promise<void> {
  try {
    await files.rename(partial, name);
    return;
  } catch (cause) {
    if (errnoOf(cause) !== "EXDEV") throw cause;
  }
  await files.mkdir(dirname(incoming));
  try {
    await files.copy(partial, incoming);
    await syncFile(files, incoming);
    await files.rename(incoming, name);
  } catch (cause) {
    await files.unlink(incoming).catch(() => {});
    throw cause;
  }
  // What cannot be removed now is swept up later.
  await files.unlink(partial).catch(() => {});
}

async function syncFile(files: Files, path: string): Promise<void> {
  const fd = await files.open(path, constants.O_RDONLY);
  try {
    await files.fdatasync(fd);
  } finally {
    files.close(fd);
  }
}

export async function syncDirectory(files: Files, path: string): Promise<void> {
  const fd = await files.open(path, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    await files.fsync(fd);
  } finally {
    files.close(fd);
  }
}
