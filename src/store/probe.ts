/**
 * Shows that a store takes files as blobs are written: makes one, writes, syncs, removes it. Directories that are gone are
 * made again.
 */
import { constants } from "node:fs";
import { join } from "node:path";
import type { Files } from "./files.ts";

const CREATE = constants.O_RDWR | constants.O_CREAT | constants.O_TRUNC;
const BYTES = Buffer.alloc(4096, 0x5a);

/** @throws what the system says. */
export async function probeStore(files: Files, root: string): Promise<void> {
  const directory = join(root, "partial");
  await files.mkdir(join(root, "blobs"));
  await files.mkdir(directory);
  const path = join(directory, `probe.${process.pid}`);
  const fd = await files.open(path, CREATE, 0o600);
  try {
    await files.write(fd, BYTES, 0, BYTES.length, 0);
    await files.fdatasync(fd);
  } finally {
    files.close(fd);
    await files.unlink(path).catch(() => {});
  }
}
