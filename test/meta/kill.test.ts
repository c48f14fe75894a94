/** A process that is killed in the middle of its work leaves an index that holds what it promises. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { Inventory } from "../../src/meta/inventory.ts";
import { type IndexAccess, openIndex } from "../../src/meta/recovery.ts";
import { makeTempDir } from "../kit/temp.ts";

const meta = (file: string) => JSON.stringify(new URL(`../../src/meta/${file}.ts`, import.meta.url).href);

/** Stores and removes images that share pieces, and never ends. */
const WORK = `
import { createHash } from "node:crypto";
import { openIndex } from ${meta("recovery")};
import { Graph } from ${meta("graph")};
import { Holdings } from ${meta("holdings")};
import { Inventory } from ${meta("inventory")};
import { Repositories } from ${meta("repositories")};
import { Tags } from ${meta("tags")};
const { database } = openIndex(process.argv[2], process.argv[3] === "shared");
const repositories = new Repositories(database);
const tags = new Tags(database, repositories);
const graph = new Graph(database, repositories);
const inventory = new Inventory(database);
const holdings = new Holdings(database, { inventory, tags, repositories });
const digest = (of) => "sha256:" + createHash("sha256").update(of).digest("hex");
const place = { upstream: "docker.io", repository: "team/app" };
let seed = Number(process.argv[4]);
const random = (below) => {
  seed = (seed * 1103515245 + 12345) % 2147483648;
  return Math.floor((seed / 2147483648) * below);
};
process.stdout.write("works");
for (;;) {
  for (let round = 0; round < 20; round += 1) {
    const image = digest("image" + random(60));
    const layers = Array.from({ length: 1 + random(6) }, () => digest("layer" + random(100)));
    for (const layer of layers) inventory.addBlob(layer, random(1000), "docker.io", Date.now());
    inventory.addManifest(image, "application/vnd.oci.image.manifest.v1+json", { children: layers, subject: undefined });
    inventory.addBlob(image, random(1000), "ghcr.io", Date.now());
    graph.link(place, [image, ...layers].map((of) => ({ digest: of, sizeBytes: 1, confirmed: true })));
    tags.put(place, "t" + random(30), image, Date.now());
    const [victim] = holdings.findVictims(1);
    if (victim !== undefined && random(3) === 0) {
      holdings.remove(holdings.findUnit(victim.digest).map((one) => one.digest), true);
    }
  }
  await new Promise((resolve) => setImmediate(resolve));
}
`;

function assertHolds({ database }: IndexAccess): void {
  const rows = (sql: string) => database.prepare(sql).all();
  assert.deepEqual(
    rows("PRAGMA integrity_check").map((row) => ({ ...row })),
    [{ integrity_check: "ok" }],
  );
  assert.deepEqual(rows("PRAGMA foreign_key_check"), []);
  const counted =
    "SELECT upstream, count(*) AS blobs, sum(size) AS bytes FROM blobs GROUP BY upstream ORDER BY upstream";
  const totals = "SELECT upstream, blobs, bytes FROM totals WHERE blobs > 0 ORDER BY upstream";
  assert.deepEqual(rows(totals), rows(counted));
  const wrong = rows(
    "SELECT digest FROM blobs b WHERE parents <> (SELECT count(*) FROM names n JOIN blobs p ON p.digest = n.parent WHERE n.child = b.digest)",
  );
  assert.deepEqual(wrong, []);
  // A unit leaves in one transaction, with its tags: none of them may name what is gone.
  assert.deepEqual(rows("SELECT tag FROM tags WHERE digest NOT IN (SELECT digest FROM blobs)"), []);
  const inventory = new Inventory(database);
  const [sum] = rows("SELECT count(*) AS blobs, coalesce(sum(size), 0) AS bytes FROM blobs");
  assert.deepEqual([inventory.blobs, inventory.bytes], [sum?.["blobs"], sum?.["bytes"]]);
}

for (const mode of ["sole", "shared"]) {
  test(`killed at any moment, the index opens as it is, and its sums are right (${mode})`, async () => {
    await using dir = await makeTempDir("kill");
    const script = join(dir.path, "work.mjs");
    writeFileSync(script, WORK);
    for (let round = 0; round < 5; round += 1) {
      const child = spawn(process.execPath, [script, dir.path, mode, String(round)], {
        stdio: ["ignore", "pipe", "inherit"],
      });
      const ended = once(child, "exit");
      try {
        await Promise.race([once(child.stdout, "data"), ended]);
        await new Promise((resolve) => setTimeout(resolve, 20 + Math.random() * 150));
      } finally {
        child.kill("SIGKILL");
      }
      assert.deepEqual(await ended, [null, "SIGKILL"]);
      const index = openIndex(dir.path, mode === "shared");
      assert.equal(index.recovery, undefined);
      assert.equal(index.reconcileDue, true);
      assertHolds(index);
      index.reconciled();
      index.close();
    }
    const last = openIndex(dir.path, false);
    assert.equal(last.reconcileDue, false);
    last.close();
  });
}
