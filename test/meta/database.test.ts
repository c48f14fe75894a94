/** The index file: made, opened again, refused where it is not ours to use. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { test } from "node:test";
import { isFailure } from "../../src/base/failure.ts";
import { openDatabase, openReader, transaction } from "../../src/meta/database.ts";
import { openIndex } from "../../src/meta/recovery.ts";
import { makeTempDir } from "../kit/temp.ts";

const FILE = "index.sqlite";
const versionOf = (database: DatabaseSync) => Number(database.prepare("PRAGMA user_version").get()?.["user_version"]);

test("an empty directory gets an index of the newest format, which opens again", async () => {
  await using dir = await makeTempDir("meta");
  const first = openDatabase(dir.path);
  const version = versionOf(first);
  assert.ok(version >= 1);
  first.close();
  const again = openDatabase(dir.path);
  assert.equal(versionOf(again), version);
  again.close();
});

test("an index of a newer version is refused by name, left as it is, and not kept open", async () => {
  await using dir = await makeTempDir("meta");
  openDatabase(dir.path).close();
  const path = join(dir.path, FILE);
  const newer = new DatabaseSync(path);
  newer.exec("PRAGMA user_version = 999");
  newer.close();
  for (let round = 0; round < 2; round += 1) {
    assert.throws(
      () => openDatabase(dir.path),
      (error) => isFailure(error, "storage") && /newer version \(format 999\)/.test(error.message),
    );
  }
  const still = new DatabaseSync(path);
  assert.equal(versionOf(still), 999);
  still.close();
});

test("a second opener in this process is told that the directory is in use", async () => {
  await using dir = await makeTempDir("meta");
  const first = openDatabase(dir.path);
  assert.throws(
    () => openDatabase(dir.path),
    (error) => isFailure(error, "storage") && /in use by another process/.test(error.message),
  );
  first.close();
  openDatabase(dir.path).close();
});

const HOLD = `
const { DatabaseSync } = require("node:sqlite");
const database = new DatabaseSync(process.argv[1], { timeout: 0 });
database.exec("PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL;");
database.exec("BEGIN EXCLUSIVE; PRAGMA user_version = 2; COMMIT");
process.stdout.write("held");
process.stdin.resume().on("end", () => process.exit(0));
`;

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

test("a directory that another process holds is refused, and free when that has ended", async () => {
  await using dir = await makeTempDir("meta");
  openDatabase(dir.path).close();
  const other = spawn(process.execPath, ["-e", HOLD, join(dir.path, FILE)], { stdio: ["pipe", "pipe", "inherit"] });
  try {
    await once(other.stdout, "data");
    assert.throws(
      () => openDatabase(dir.path),
      (error) => isFailure(error, "storage") && error.message.includes(`${dir.path} is in use by another process`),
    );
  } finally {
    other.stdin.end();
    await once(other, "exit");
  }
  openDatabase(dir.path).close();
});

test("what we hold no other process gets into, from the first opening and from later ones", async () => {
  await using dir = await makeTempDir("meta");
  for (let round = 0; round < 2; round += 1) {
    const database = openDatabase(dir.path);
    const other = spawn(process.execPath, ["-e", TRY, join(dir.path, FILE)], { stdio: ["ignore", "pipe", "inherit"] });
    const [[told]] = await Promise.all([once(other.stdout, "data"), once(other, "exit")]);
    assert.match(String(told), /^out: .*locked/);
    database.close();
  }
});

test("a file that is no index is no index", async () => {
  await using dir = await makeTempDir("meta");
  const path = join(dir.path, FILE);
  await writeFile(path, Buffer.alloc(8192, "not a database "));
  assert.throws(
    () => openDatabase(dir.path),
    (error) => isFailure(error, "storage") && error.message.includes(path) && /not a database/.test(error.message),
  );
});

test("a directory that is not there is a failure of the storage", async () => {
  await using dir = await makeTempDir("meta");
  assert.throws(
    () => openDatabase(join(dir.path, "missing")),
    (error) => isFailure(error, "storage") && /cannot open/.test(error.message),
  );
});

test("a transaction that throws leaves nothing behind, and the next one works", async () => {
  await using dir = await makeTempDir("meta");
  const database = openDatabase(dir.path);
  const insert = database.prepare("INSERT INTO repositories (upstream, name) VALUES (?, ?)");
  assert.throws(
    () =>
      transaction(database, () => {
        insert.run("a", "b");
        throw new Error("half way");
      }),
    /half way/,
  );
  const count = () => Number(database.prepare("SELECT count(*) AS n FROM repositories").get()?.["n"]);
  assert.equal(count(), 0);
  transaction(database, () => insert.run("a", "b"));
  assert.equal(count(), 1);
  database.close();
});

test("a shared index is read by others as it stands, and kept from every other writer", async () => {
  await using dir = await makeTempDir("meta");
  const refused = (error: unknown) => isFailure(error, "storage") && /in use by another process/.test(error.message);
  const shared = openIndex(dir.path, true);
  const reader = openReader(dir.path);
  shared.database.exec("INSERT INTO manifests VALUES ('one', 'type', 1)");
  const rows = reader.prepare("SELECT * FROM manifests");
  assert.equal(rows.all().length, 1);
  shared.database.exec("INSERT INTO manifests VALUES ('two', 'type', 1)");
  assert.equal(rows.all().length, 2);
  assert.throws(() => reader.exec("DELETE FROM manifests"), /readonly/);
  assert.throws(() => openIndex(dir.path, true), refused);
  assert.throws(() => openDatabase(dir.path), refused);
  reader.close();
  shared.close();
  const sole = openDatabase(dir.path);
  assert.throws(() => openIndex(dir.path, true), refused);
  sole.close();
  openIndex(dir.path, true).close();
});
