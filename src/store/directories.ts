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
  const failure = await tryMaking(path);
  if (failure === undefined) return path;
  if (await isDirectory(path)) return undefined;
  const parent = dirname(path);
  const isOrphan = failure instanceof Error && "code" in failure && failure.code === "ENOENT";
  if (!isOrphan || parent === path) throw failure;
  const first = await makeDirectories(parent);
  // Others may have made the parent meanwhile, and this one: it is tried again, and once.
  const last = await tryMaking(path);
  if (last === undefined) return first ?? path;
  if (await isDirectory(path)) return first;
  throw last;
}

/** @returns why it cannot be made; undefined where it was. */
async function tryMaking(path: string): Promise<unknown> {
  try {
    await mkdir(path);
    return undefined;
  } catch (error) {
    return error;
  }
}

async function isDirectory(path: string): Promise<boolean> {
  try {
    return (await stat(path)).isDirectory();
  } catch {
    return false;
  }
}
