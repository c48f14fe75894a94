/**
 * A directory for the length of one test.
 */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

export interface TempDir {
  readonly path: string;
  [Symbol.asyncDispose](): Promise<void>;
}

/** Whoever asked removes it: `await using dir = await makeTempDir()`. */
export async function makeTempDir(purpose = "test"): Promise<TempDir> {
  const path = await mkdtemp(join(tmpdir(), `wharfinger-${purpose}-`));
  return {
    path,
    // Without `maxRetries`: it multiplies at every level of the tree, and one mount left below takes minutes.
    [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true }),
  };
}
