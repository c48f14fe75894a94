/**
 * Makes a directory and what it lies in, and ends whatever the file system says.
 *
 * Node's own `recursive` tries for ever where a directory cannot be made in one that is there, as in /proc.
 */
import { mkdir, stat } from "node:fs/promises";
import { dirname } from "node:path";

/**
 * @returns the first that was made; undefined where all were there.
 * @throws what the system says of it.
 */
export async function makeDirectories(path: string): Promise<string | undefined> {
  try {
    await mkdir(path);
    return path;
  } catch (error) {
    if (await isDirectory(path)) return undefined;
    const parent = dirname(path);
    const isOrphan = error instanceof Error && "code" in error && error.code === "ENOENT";
    if (!isOrphan || parent === path || (await isDirectory(parent))) throw error;
    const first = await makeDirectories(parent);
    const last = await makeDirectories(path);
    return first ?? last;
  }
}

async function isDirectory(path: string): Promise<boolean> {
  try {
    return (await stat(path)).isDirectory();
  } catch {
    return false;
  }
}
