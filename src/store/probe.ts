/**
 * Shows that a directory takes files as blobs are written: makes one, writes, syncs, removes it. Directories that are gone
 * are made again.
 */
import { mkdir, open, rm } from "node:fs/promises";
import { join } from "node:path";

const PROBE_BYTES = 4096;

/** @throws what the system says. */
export async function probeDirectory(directory: string): Promise<void> {
  await mkdir(directory, { recursive: true });
  const path = join(directory, `probe-${process.pid}`);
  try {
    const file = await open(path, "w", 0o600);
    try {
      await file.write(Buffer.alloc(PROBE_BYTES, 0x5a));
      await file.datasync();
    } finally {
      await file.close();
    }
  } finally {
    await rm(path, { force: true });
  }
}
