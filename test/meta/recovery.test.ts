/** Whatever became of the index file, it opens; and what became of it is told. */
import assert from "node:assert/strict";
import { mkdirSync, readdirSync, readFileSync, rmSync, statSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { test } from "node:test";
import fc from "fast-check";
import { isFailure } from "../../src/base/failure.ts";
import { refuseNewerFormat } from "../../src/meta/format.ts";
import { Graph } from "../../src/meta/graph.ts";
import { Inventory } from "../../src/meta/inventory.ts";
import { openIndex, recoveryText } from "../../src/meta/recovery.ts";
import { Repositories } from "../../src/meta/repositories.ts";
import { Tags } from "../../src/meta/tags.ts";
import { parseTag } from "../../src/oci/reference.ts";
import { makeTempDir } from "../kit/temp.ts";
import { digest, place } from "./rooms.ts";

const FILE = "index.sqlite";
const app = place("docker.io", "team/app");

function roomsOf(directory: string, shared = false) {
  const index = openIndex(directory, shared);
  const repositories = new Repositories(index.database);
  return {
    index,
    inventory: new Inventory(index.database),
    graph: new Graph(index.database, repositories),
    tags: new Tags(index.database, repositories, false),
  };
}

/** Some hundred pages of rows, and a file of a blob beside them. */
function fill(directory: string): void {
  const { index, inventory, tags, graph } = roomsOf(directory);
  index.database.exec("BEGIN");
  for (let at = 0; at < 800; at += 1) inventory.addBlob(digest(String(at)), at, "docker.io", at + 1);
  for (let at = 0; at < 800; at += 1) tags.put(app, parseTag(`t${at}`), digest(String(at)), at);
  index.database.exec("COMMIT");
  graph.link(app, [{ digest: digest("1"), sizeBytes: 1, confirmed: true }]);
  index.close();
  mkdirSync(join(directory, "blobs", "sha256", "ab"), { recursive: true });
}

const asideIn = (directory: string) => readdirSync(directory).filter((name) => name.startsWith(`${FILE}.damaged-`));

/** Opens, works with it, and opens again, which must be an ordinary opening. */
function assertUsable(directory: string, shared = false) {
  const { index, inventory, tags } = roomsOf(directory, shared);
  const { recovery, reconcileDue } = index;
  inventory.addBlob(digest("new"), 5, "docker.io", 1);
  tags.put(app, parseTag("new"), digest("new"), 1);
  index.close();
  const again = roomsOf(directory, shared);
  assert.equal(again.index.recovery, undefined);
  assert.equal(again.inventory.findSize(digest("new")), 5);
  assert.equal(again.tags.find(app, parseTag("new"))?.digest, digest("new"));
  again.index.close();
  return { recovery, reconcileDue };
}

test("an empty directory gets an index, and nothing to tell of", async () => {
  await using dir = await makeTempDir("recovery");
  assert.deepEqual(assertUsable(dir.path), { recovery: undefined, reconcileDue: false });
});

test("an index that was closed well is opened as it was, with nothing to reconcile", async () => {
  await using dir = await makeTempDir("recovery");
  fill(dir.path);
  assert.deepEqual(assertUsable(dir.path), { recovery: undefined, reconcileDue: false });
});

const DAMAGES: Readonly<Record<string, (path: string) => void>> = {
  zeroed: (path) => writeFileSync(path, Buffer.alloc(statSync(path).size)),
  "another kind of file": (path) => writeFileSync(path, Buffer.alloc(9000, "not a database ")),
  "cut to its first page": (path) => truncateSync(path, 4096),
  "cut in the middle of its header": (path) => truncateSync(path, 50),
  empty: (path) => truncateSync(path, 0),
  missing: (path) => rmSync(path),
  "a directory": (path) => {
    rmSync(path);
    mkdirSync(join(path, "inside"), { recursive: true });
  },
  "robbed of a table": (path) => {
    const database = new DatabaseSync(path);
    database.exec("DROP TABLE tags");
    database.close();
  },
};

for (const [what, damage] of Object.entries(DAMAGES)) {
  for (const shared of [false, true]) {
    test(`an index that is ${what} is rebuilt, ${shared ? "shared" : "by a sole process"}, and set aside`, async () => {
      await using dir = await makeTempDir("recovery");
      fill(dir.path);
      const path = join(dir.path, FILE);
      damage(path);
      const { recovery, reconcileDue } = assertUsable(dir.path, shared);
      assert.ok(recovery !== undefined);
      assert.ok(reconcileDue);
      assert.equal(recovery.restoredFrom, undefined);
      assert.equal(recovery.aside !== undefined, what !== "missing");
      assert.deepEqual(asideIn(dir.path), recovery.aside === undefined ? [] : [recovery.aside]);
      assert.match(recoveryText(recovery, false), /Tags, permissions, pins and counts of uses are lost/);
      assert.match(recoveryText(recovery, true), /nothing can be served offline until/);
    });
  }
}

test("an index that is cut anywhere opens: as it was, or anew", async () => {
  await using dir = await makeTempDir("recovery");
  fill(dir.path);
  const path = join(dir.path, FILE);
  const whole = readFileSync(path);
  for (let at = 0; at <= whole.length; at += 4096 * 7 + 1365) {
    writeFileSync(path, whole.subarray(0, at));
    const { recovery } = assertUsable(dir.path);
    assert.ok(recovery !== undefined, `cut at ${at}`);
  }
  assert.ok(asideIn(dir.path).length <= 2, "two are kept, the others are gone");
});

test("an index with flipped bits opens; what cannot be read then is absent, and the next opening rebuilds it", async () => {
  await using dir = await makeTempDir("recovery");
  fill(dir.path);
  const path = join(dir.path, FILE);
  const whole = readFileSync(path);
  const pages = whole.length / 4096;
  let found = 0;
  fc.assert(
    fc.property(fc.integer({ min: 0, max: pages - 1 }), fc.infiniteStream(fc.nat(4095)), (page, offsets) => {
      const bytes = Buffer.from(whole);
      for (const offset of offsets.take(40)) {
        const at = page * 4096 + offset;
        // The version of the format is what it says.
        if (at < 60 || at > 64) bytes[at] = (bytes[at] ?? 0) ^ (1 << (offset % 8));
      }
      writeFileSync(path, bytes);
      const { index, inventory, tags } = roomsOf(dir.path);
      const wasDamaged = index.recovery !== undefined;
      let told = 0;
      index.onDamage(() => {
        told += 1;
      });
      for (let at = 0; at < 800; at += 1) {
        const size = inventory.findSize(digest(String(at)));
        assert.ok(size === undefined || Number.isFinite(size));
        tags.find(app, parseTag(`t${at}`));
      }
      tags.namesOf(app);
      const { damage } = index;
      index.close();
      if (damage !== undefined) {
        found += 1;
        assert.ok(told >= 1);
        const next = roomsOf(dir.path);
        assert.ok(next.index.recovery !== undefined);
        next.index.close();
      } else if (wasDamaged) found += 1;
      for (const name of readdirSync(dir.path)) if (name.startsWith(FILE)) rmSync(join(dir.path, name));
    }),
    { numRuns: 60, endOnFailure: true },
  );
  assert.ok(found > 0, "the test damages something that shows");
});

test("a journal that is damaged, or gone, costs the last changes at most, and has files and rows compared", async () => {
  for (const harm of [
    (wal: string) => writeFileSync(wal, Buffer.alloc(statSync(wal).size, 0xa5)),
    (wal: string) => truncateSync(wal, Math.floor(statSync(wal).size / 2)),
    (wal: string) => rmSync(wal),
  ]) {
    await using dir = await makeTempDir("recovery");
    fill(dir.path);
    // What a process that was killed leaves: copied while it is open.
    const { index, inventory } = roomsOf(dir.path, true);
    inventory.addBlob(digest("late"), 7, "docker.io", 1);
    await using killed = await makeTempDir("recovery");
    for (const name of [FILE, `${FILE}-wal`]) {
      writeFileSync(join(killed.path, name), readFileSync(join(dir.path, name)));
    }
    index.close();
    harm(join(killed.path, `${FILE}-wal`));
    const after = roomsOf(killed.path);
    assert.equal(after.index.recovery, undefined);
    assert.equal(after.index.reconcileDue, true);
    assert.equal(after.inventory.findSize(digest("799")), 799);
    after.index.close();
  }
});

test("an index of a newer version is refused and left as it is, with its journal", async () => {
  await using dir = await makeTempDir("recovery");
  fill(dir.path);
  const newer = new DatabaseSync(join(dir.path, FILE));
  newer.exec("PRAGMA user_version = 999");
  newer.close();
  const before = readFileSync(join(dir.path, FILE));
  for (const shared of [false, true]) {
    assert.throws(
      () => openIndex(dir.path, shared),
      (error) => isFailure(error, "storage") && /newer version \(format 999\)/.test(error.message),
    );
  }
  assert.deepEqual(readFileSync(join(dir.path, FILE)), before);
  assert.deepEqual(asideIn(dir.path), []);
});

test("damage that was found is kept in mind, and told by one of all processes", async () => {
  await using dir = await makeTempDir("recovery");
  fill(dir.path);
  const { index } = roomsOf(dir.path);
  index.condemn(new Error("database disk image is malformed"));
  index.close();
  const { recovery } = assertUsable(dir.path);
  assert.equal(recovery?.reason, "database disk image is malformed");
});

test("where the disk has no room for a new index it is in memory, for one process, until the next start", async () => {
  await using dir = await makeTempDir("recovery");
  fill(dir.path);
  rmSync(join(dir.path, FILE));
  const { exec } = DatabaseSync.prototype;
  DatabaseSync.prototype.exec = function (sql) {
    if (this.location()?.endsWith(FILE) === true && sql.includes("CREATE TABLE")) {
      throw Object.assign(new Error("database or disk is full"), { code: "ERR_SQLITE_ERROR", errcode: 13 });
    }
    exec.call(this, sql);
  };
  try {
    const { index, inventory, tags } = roomsOf(dir.path);
    assert.equal(index.recovery?.inMemory, true);
    assert.match(
      recoveryText(index.recovery, false),
      /disk is full, and the new one is in memory until the next start/,
    );
    inventory.addBlob(digest("new"), 5, "docker.io", 1);
    tags.put(app, parseTag("new"), digest("new"), 1);
    assert.equal(inventory.findSize(digest("new")), 5);
    await index.writeBackup(new AbortController().signal);
    assert.equal(index.hasBackup(), false);
    index.close();
    assert.throws(
      () => openIndex(dir.path, true),
      (error) => isFailure(error, "storage") && /disk is full.*has room/.test(error.message),
    );
  } finally {
    DatabaseSync.prototype.exec = exec;
  }
  assert.equal(assertUsable(dir.path).recovery?.inMemory, false);
});

test("a directory with a newer format in it is refused by name, whatever else is there", async () => {
  await using dir = await makeTempDir("recovery");
  refuseNewerFormat(join(dir.path, "missing"), "v1");
  mkdirSync(join(dir.path, "v1"));
  for (const other of ["v0", "vx", "v1.bak", "2", "v01"]) mkdirSync(join(dir.path, other));
  refuseNewerFormat(dir.path, "v1");
  mkdirSync(join(dir.path, "v12"));
  assert.throws(
    () => refuseNewerFormat(dir.path, "v1"),
    (error) => isFailure(error, "storage") && /v12 was written by a newer version; .*v1\. /.test(error.message),
  );
});
