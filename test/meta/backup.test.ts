/** A copy of the index that is whole, made while the index is in use, and that takes its place. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, readdirSync, statSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { Inventory } from "../../src/meta/inventory.ts";
import { openIndex } from "../../src/meta/recovery.ts";
import { Repositories } from "../../src/meta/repositories.ts";
import { Tags } from "../../src/meta/tags.ts";
import { parseTag } from "../../src/oci/reference.ts";
import { openResources, residueSince } from "../kit/residue.ts";
import { makeTempDir } from "../kit/temp.ts";
import { digest, place } from "./rooms.ts";

const app = place("docker.io", "team/app");
const never = new AbortController().signal;
const BACKUP = "index.backup.sqlite";

function roomsOf(directory: string, shared = false) {
  const index = openIndex(directory, shared);
  const tags = new Tags(index.database, new Repositories(index.database), false);
  return { index, tags, inventory: new Inventory(index.database) };
}

const zero = (path: string) => writeFileSync(path, Buffer.alloc(statSync(path).size));

for (const shared of [false, true]) {
  test(`what was there when the backup was made is there after the index was lost (${shared ? "shared" : "sole"})`, async () => {
    await using dir = await makeTempDir("backup");
    const { index, tags, inventory } = roomsOf(dir.path, shared);
    for (let at = 0; at < 2000; at += 1) inventory.addBlob(digest(String(at)), at, "docker.io", at);
    tags.put(app, parseTag("before"), digest("1"), 7);
    const baseline = openResources();
    const writing = index.writeBackup(never);
    // The index is in use meanwhile; what is written then may be in the backup or not.
    for (let at = 0; existsSync(join(dir.path, BACKUP)) === false && at < 5000; at += 1) {
      inventory.addBlob(digest(`m${at}`), 1, "docker.io", at);
      tags.put(app, parseTag("meanwhile"), digest("2"), at);
      await new Promise((resolve) => setImmediate(resolve));
    }
    await writing;
    assert.deepEqual(await residueSince(baseline), []);
    tags.put(app, parseTag("after"), digest("3"), 7);
    const madeAt = statSync(join(dir.path, BACKUP)).mtimeMs;
    index.close();
    zero(join(dir.path, "index.sqlite"));
    const again = roomsOf(dir.path, shared);
    assert.equal(again.index.recovery?.restoredFrom, madeAt);
    assert.equal(again.index.reconcileDue, true);
    assert.equal(again.tags.find(app, parseTag("before"))?.digest, digest("1"));
    assert.equal(again.tags.find(app, parseTag("after")), undefined);
    assert.equal(again.inventory.findSize(digest("1999")), 1999);
    const counted = again.index.database.prepare("SELECT count(*) AS n, sum(size) AS bytes FROM blobs").get();
    assert.deepEqual([again.inventory.blobs, again.inventory.bytes], [counted?.["n"], counted?.["bytes"]]);
    again.index.close();
    assert.deepEqual(
      readdirSync(dir.path).filter((name) => !name.startsWith("index.sqlite.damaged-")),
      ["index.sqlite", "lock.sqlite"],
    );
  });
}

test("a backup that is damaged itself is not relied on", async () => {
  for (const harm of [zero, (path: string) => truncateSync(path, 5000), (path: string) => truncateSync(path, 0)]) {
    await using dir = await makeTempDir("backup");
    const first = roomsOf(dir.path);
    first.tags.put(app, parseTag("1"), digest("1"), 7);
    await first.index.writeBackup(never);
    first.index.close();
    harm(join(dir.path, BACKUP));
    zero(join(dir.path, "index.sqlite"));
    const { index, tags } = roomsOf(dir.path);
    assert.ok(index.recovery !== undefined);
    tags.put(app, parseTag("2"), digest("1"), 7);
    index.close();
    const again = roomsOf(dir.path);
    assert.equal(again.index.recovery, undefined);
    assert.equal(again.tags.find(app, parseTag("2"))?.digest, digest("1"));
    again.index.close();
  }
});

test("a damaged index does not replace a good backup, and leaves no half of one", async () => {
  await using dir = await makeTempDir("backup");
  const { index, inventory } = roomsOf(dir.path);
  for (let at = 0; at < 2000; at += 1) inventory.addBlob(digest(String(at)), at, "docker.io", at);
  await index.writeBackup(never);
  const before = statSync(join(dir.path, BACKUP));
  const path = join(dir.path, "index.sqlite");
  // The pages in the middle of the file; the connection has the first ones in its memory.
  truncateSync(path, 40_960);
  await assert.rejects(index.writeBackup(never), /damaged|copied/);
  assert.deepEqual(
    [statSync(join(dir.path, BACKUP)).mtimeMs, statSync(join(dir.path, BACKUP)).ino],
    [before.mtimeMs, before.ino],
  );
  assert.equal(existsSync(join(dir.path, "index.backup.partial")), false);
  index.close();
});

test("a backup that is ended leaves the last one, and nothing else", async () => {
  await using dir = await makeTempDir("backup");
  const { index, inventory } = roomsOf(dir.path);
  for (let at = 0; at < 2000; at += 1) inventory.addBlob(digest(String(at)), at, "docker.io", at);
  const baseline = openResources();
  for (const afterMs of [0, 1, 20, 60]) {
    const stop = new AbortController();
    const writing = index.writeBackup(stop.signal);
    setTimeout(() => stop.abort(new Error("stopping")), afterMs);
    await writing.catch((error: Error) => assert.equal(error.message, "stopping"));
    assert.equal(existsSync(join(dir.path, "index.backup.partial")), false);
  }
  assert.deepEqual(await residueSince(baseline), []);
  index.close();
});

test("what a killed process left of a backup is gone with the next opening", async () => {
  await using dir = await makeTempDir("backup");
  for (const name of ["index.backup.partial", "index.backup.partial-journal"]) writeFileSync(join(dir.path, name), "x");
  openIndex(dir.path, false).close();
  assert.deepEqual(readdirSync(dir.path), ["index.sqlite", "lock.sqlite"]);
});

const TRY = `
const { DatabaseSync } = require("node:sqlite");
try {
  const database = new DatabaseSync(process.argv[1], { timeout: 0 });
  database.exec("BEGIN IMMEDIATE; CREATE TABLE intruder (x); COMMIT");
  process.stdout.write("in");
} catch (error) {
  process.stdout.write("out: " + error.message);
}
`;

test("reading the file for a backup does not let go of the lock on it", async () => {
  await using dir = await makeTempDir("backup");
  const { index } = roomsOf(dir.path);
  await index.writeBackup(never);
  const path = join(dir.path, "index.sqlite");
  const other = spawn(process.execPath, ["-e", TRY, path], { stdio: ["ignore", "pipe", "inherit"] });
  const [[told]] = await Promise.all([once(other.stdout, "data"), once(other, "exit")]);
  assert.match(String(told), /^out: .*locked/);
  index.close();
});
