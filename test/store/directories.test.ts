/** Directories that are made with what they lie in, and what becomes of those that cannot be. */
import assert from "node:assert/strict";
import { stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import test from "node:test";
import { makeDirectories } from "../../src/store/directories.ts";
import { makeTempDir } from "../kit/temp.ts";

test("a directory is made with all that it lies in, by many at once, and again", async () => {
  await using dir = await makeTempDir("directories");
  const path = join(dir.path, "a", "b", "c");
  await Promise.all([makeDirectories(path), makeDirectories(join(path, "d")), makeDirectories(path)]);
  await makeDirectories(`${path}/`);
  assert.ok((await stat(join(path, "d"))).isDirectory());
});

test("those who make the same at the same time all have it", async () => {
  await using dir = await makeTempDir("directories");
  for (let round = 0; round < 50; round += 1) {
    const path = join(dir.path, String(round), "a", "b");
    await Promise.all(Array.from({ length: 8 }, (_, at) => makeDirectories(join(path, String(at % 3)))));
  }
});

test("where none can be made, that is told at once", async () => {
  await using dir = await makeTempDir("directories");
  await writeFile(join(dir.path, "file"), "");
  await assert.rejects(makeDirectories(join(dir.path, "file")), { code: "EEXIST" });
  await assert.rejects(makeDirectories(join(dir.path, "file", "a", "b")), { code: "ENOTDIR" });
  await assert.rejects(makeDirectories("/proc/nope/v1"), { code: "ENOENT" });
});
