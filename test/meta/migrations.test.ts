/** An index of an older format is taken over as it is, with what it did not know worked out. */
import assert from "node:assert/strict";
import { mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { test } from "node:test";
import { Graph } from "../../src/meta/graph.ts";
import { Holdings } from "../../src/meta/holdings.ts";
import { Inventory } from "../../src/meta/inventory.ts";
import { MIGRATIONS } from "../../src/meta/migrations.ts";
import { openIndex } from "../../src/meta/recovery.ts";
import { Repositories } from "../../src/meta/repositories.ts";
import { Tags } from "../../src/meta/tags.ts";
import type { Digest } from "../../src/oci/digest.ts";
import { parseTag } from "../../src/oci/reference.ts";
import { DiskStore } from "../../src/store/disk.ts";
import { reconcile } from "../../src/upkeep/reconcile.ts";
import { makeImage, makeIndex } from "../kit/image.ts";
import { makeTempDir } from "../kit/temp.ts";
import { place } from "./rooms.ts";

const app = place("docker.io", "team/app");
const STORED_AT = 1_700_000_000_000;

/** An index as the first format had it. */
function openFirst(directory: string): DatabaseSync {
  const database = new DatabaseSync(join(directory, "index.sqlite"));
  database.exec(`PRAGMA journal_mode = WAL; BEGIN; ${MIGRATIONS[0]} PRAGMA user_version = 1; COMMIT;`);
  return database;
}

test("an index of format 1 keeps its rows, gets totals, and learns from the files what names what", async () => {
  await using dir = await makeTempDir("migrations");
  const store = await DiskStore.open(dir.path);
  const one = makeImage({ layers: [500, 900] });
  const two = makeImage({ seed: 2, layers: [700] });
  const all = makeIndex([one, two]);
  const manifests = [one, two, all];
  const old = openFirst(dir.path);
  old.exec("INSERT INTO repositories VALUES (1, 'docker.io', 'team/app')");
  const blob = old.prepare("INSERT INTO blobs VALUES (?, ?, ?, ?)");
  const files = new Map<Digest, Buffer>([
    ...[one, two].flatMap((image) => [...image.blobs]),
    ...manifests.map(({ digest, manifest }): [Digest, Buffer] => [digest, manifest]),
  ]);
  let bytes = 0;
  for (const [digest, content] of files) {
    mkdirSync(dirname(store.pathOf(digest)), { recursive: true });
    writeFileSync(store.pathOf(digest), content);
    blob.run(digest, content.length, digest === two.digest ? "ghcr.io" : "docker.io", STORED_AT);
    old.prepare("INSERT INTO reachable VALUES (1, ?, ?, 1)").run(digest, content.length);
    bytes += content.length;
  }
  for (const { digest, mediaType } of manifests)
    old.prepare("INSERT INTO manifests VALUES (?, ?)").run(digest, mediaType);
  old.prepare("INSERT INTO tags VALUES (1, '1', ?, ?)").run(all.digest, STORED_AT);
  old.close();

  const index = openIndex(dir.path, false);
  assert.equal(index.recovery, undefined);
  assert.equal(index.reconcileDue, true);
  const repositories = new Repositories(index.database);
  const tags = new Tags(index.database, repositories);
  const inventory = new Inventory(index.database);
  const holdings = new Holdings(index.database, { inventory, tags, repositories });
  const graph = new Graph(index.database, repositories);
  assert.deepEqual([inventory.blobs, inventory.bytes], [files.size, bytes]);
  assert.equal(holdings.bytesOf("ghcr.io"), two.manifest.length);
  assert.equal(holdings.bytesOf("docker.io"), bytes - two.manifest.length);
  assert.deepEqual(tags.find(app, parseTag("1")), { digest: all.digest, checkedAt: STORED_AT });
  assert.ok(graph.findReachable(app, one.config.digest)?.confirmed);
  assert.deepEqual([holdings.find(one.digest)?.worth, holdings.find(one.digest)?.lastUsedAt], [STORED_AT, STORED_AT]);
  assert.equal(inventory.findUnlinked("", 10).length, 3);

  const report = await reconcile(
    { store, inventory, holdings, shelf: { forget() {} } },
    { signal: new AbortController().signal },
  );
  assert.deepEqual([report.linked, report.added, report.dropped, report.damaged], [3, 0, 0, 0]);
  assert.deepEqual(inventory.findUnlinked("", 10), []);
  assert.deepEqual(
    holdings.findVictims(10).map(({ digest }) => digest),
    [all.digest],
  );
  assert.equal(holdings.findUnit(all.digest).length, files.size);
  assert.deepEqual([inventory.blobs, inventory.bytes], [files.size, bytes]);
  index.reconciled();
  index.close();
  await store.stop();
  const again = openIndex(dir.path, false);
  assert.equal(again.reconcileDue, false);
  again.close();
});

test("an index that cannot be migrated is set aside whole, in its old format, and rebuilt", async () => {
  await using dir = await makeTempDir("migrations");
  const old = openFirst(dir.path);
  // In the way of a table that the second format makes.
  old.exec("CREATE TABLE ghosts (x); INSERT INTO repositories VALUES (1, 'docker.io', 'team/app')");
  old.close();
  const index = openIndex(dir.path, false);
  assert.match(index.recovery?.reason ?? "", /ghosts already exists/);
  index.close();
  const still = new DatabaseSync(join(dir.path, index.recovery?.aside ?? ""));
  assert.equal(still.prepare("PRAGMA user_version").get()?.["user_version"], 1);
  assert.deepEqual(
    still
      .prepare("PRAGMA table_info(blobs)")
      .all()
      .map((row) => row["name"]),
    ["digest", "size", "upstream", "stored_at"],
  );
  still.close();
});
