/**
 * A large store, made without pulling it: rows written straight into the index, and files, which have no bytes on the
 * disk, for those that will be looked at. Images of ten blobs each, as digests fall.
 */
import { closeSync, ftruncateSync, mkdirSync, openSync } from "node:fs";
import { dirname, join } from "node:path";
import { type Database, openDatabase } from "../src/meta/database.ts";
import { HALF_LIFE_MS } from "../src/meta/worth.ts";
import type { Digest } from "../src/oci/digest.ts";
import { DiskStore } from "../src/store/disk.ts";

export const BLOB_BYTES = 16 * 1024;
const PER_IMAGE = 10;
const UPSTREAM = "registry.test";

/** @param root the versioned directory below `cache.dir`. @returns how long it took. */
export function makeStore(root: string, blobs: number, victims: number): void {
  mkdirSync(root, { recursive: true });
  const database = openDatabase(root);
  try {
    fill(database, blobs);
    makeFiles(root, database, victims);
  } finally {
    database.close();
  }
}

function fill(database: Database, blobs: number): void {
  const now = Date.now();
  const triggers = database.prepare("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'").all();
  for (const { name } of triggers) database.exec(`DROP TRIGGER ${String(name)}`);
  // Spread as real digests are; an image's first blob, its manifest, names the nine after it.
  const digest = (at: string) => `printf('sha256:%08x%056x', (${at} * 2654435761) & 4294967295, ${at})`;
  database.exec(`
    PRAGMA cache_size = -200000;
    BEGIN;
    CREATE TEMP TABLE n AS WITH RECURSIVE c(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM c WHERE i < ${blobs - 1})
      SELECT i, ${digest("i")} AS digest, i / ${PER_IMAGE} AS image, i % ${PER_IMAGE} AS part FROM c;
    INSERT INTO blobs (digest, size, upstream, stored_at, last_used, hits, worth, parents, held, verified_at)
      SELECT digest, ${BLOB_BYTES}, '${UPSTREAM}', ${now} - 86400000, ${now} - 3600000 - image, part,
             ${now} - ${HALF_LIFE_MS} * 3.0 + image, part > 0, 0, ${now} FROM n ORDER BY digest;
    INSERT INTO manifests (digest, media_type, linked)
      SELECT digest, 'application/vnd.oci.image.manifest.v1+json', 1 FROM n WHERE part = 0 ORDER BY digest;
    INSERT INTO names (parent, child)
      SELECT p, c FROM (SELECT ${digest(`(i / ${PER_IMAGE}) * ${PER_IMAGE}`)} AS p, digest AS c FROM n WHERE part > 0)
      ORDER BY p, c;
    INSERT INTO repositories (id, upstream, name)
      SELECT 1000 + i, '${UPSTREAM}', 'team/app' || i FROM n WHERE i < ${Math.ceil(blobs / 100)};
    INSERT INTO reachable (repository, digest, size, confirmed)
      SELECT 1000 + image / 10, digest, ${BLOB_BYTES}, part = 0 FROM n ORDER BY 1, 2;
    INSERT INTO tags (repository, tag, digest, checked_at)
      SELECT 1000 + image / 10, 'v' || (image % 10), digest, ${now} FROM n WHERE part = 0;
    INSERT INTO totals SELECT upstream, count(*), sum(size) FROM blobs GROUP BY upstream;
    DROP TABLE n;
    COMMIT;
  `);
  for (const { sql } of triggers) database.exec(String(sql));
  database.exec("PRAGMA wal_checkpoint(TRUNCATE)");
}

/** For those that are worth least. */
function makeFiles(root: string, database: Database, victims: number): void {
  const store = DiskStore.reader(root);
  const made = new Set<string>();
  const rows = database.prepare("SELECT digest FROM blobs ORDER BY worth LIMIT ?").all(victims);
  for (const { digest } of rows) {
    const path = store.pathOf(String(digest) as Digest);
    const directory = dirname(path);
    if (!made.has(directory)) mkdirSync(directory, { recursive: true });
    made.add(directory);
    const fd = openSync(path, "wx", 0o444);
    ftruncateSync(fd, BLOB_BYTES);
    closeSync(fd);
  }
  mkdirSync(join(root, "partial"), { recursive: true });
}
