/**
 * The tables of the index, as they came to be: one step for each format version.
 *
 * Totals and parents are kept by triggers, so that no writer can forget them.
 */

/** One entry a version, applied in order and never changed once released. */
export const MIGRATIONS = [
  `
  CREATE TABLE repositories (
    id INTEGER PRIMARY KEY,
    upstream TEXT NOT NULL,
    name TEXT NOT NULL,
    UNIQUE (upstream, name)
  );
  CREATE TABLE tags (
    repository INTEGER NOT NULL REFERENCES repositories (id),
    tag TEXT NOT NULL,
    digest TEXT NOT NULL,
    checked_at INTEGER NOT NULL,
    PRIMARY KEY (repository, tag)
  ) WITHOUT ROWID;
  CREATE TABLE reachable (
    repository INTEGER NOT NULL REFERENCES repositories (id),
    digest TEXT NOT NULL,
    size INTEGER NOT NULL,
    confirmed INTEGER NOT NULL,
    PRIMARY KEY (repository, digest)
  ) WITHOUT ROWID;
  CREATE TABLE manifests (
    digest TEXT PRIMARY KEY,
    media_type TEXT NOT NULL
  ) WITHOUT ROWID;
  CREATE TABLE blobs (
    digest TEXT PRIMARY KEY,
    size INTEGER NOT NULL,
    upstream TEXT NOT NULL,
    stored_at INTEGER NOT NULL
  ) WITHOUT ROWID;
  `,
  `
  ALTER TABLE blobs ADD COLUMN last_used INTEGER NOT NULL DEFAULT 0;
  ALTER TABLE blobs ADD COLUMN hits INTEGER NOT NULL DEFAULT 0;
  ALTER TABLE blobs ADD COLUMN worth REAL NOT NULL DEFAULT 0;
  ALTER TABLE blobs ADD COLUMN parents INTEGER NOT NULL DEFAULT 0;
  ALTER TABLE blobs ADD COLUMN held INTEGER NOT NULL DEFAULT 0;
  ALTER TABLE blobs ADD COLUMN verified_at INTEGER NOT NULL DEFAULT 0;
  UPDATE blobs SET last_used = stored_at, worth = stored_at, verified_at = stored_at;
  ALTER TABLE manifests ADD COLUMN linked INTEGER NOT NULL DEFAULT 0;
  CREATE TABLE names (
    parent TEXT NOT NULL,
    child TEXT NOT NULL,
    PRIMARY KEY (parent, child)
  ) WITHOUT ROWID;
  CREATE INDEX names_child ON names (child);
  CREATE INDEX tags_digest ON tags (digest);
  CREATE INDEX reachable_digest ON reachable (digest);
  CREATE INDEX victims ON blobs (worth) WHERE parents = 0 AND held = 0;
  CREATE INDEX victims_of ON blobs (upstream, worth) WHERE parents = 0 AND held = 0;
  CREATE TABLE totals (
    upstream TEXT PRIMARY KEY,
    blobs INTEGER NOT NULL,
    bytes INTEGER NOT NULL
  ) WITHOUT ROWID;
  INSERT INTO totals SELECT upstream, count(*), sum(size) FROM blobs GROUP BY upstream;
  -- Only what is stored itself counts as a parent: an edge from what is not there keeps nothing here.
  CREATE TRIGGER blobs_insert AFTER INSERT ON blobs BEGIN
    INSERT INTO totals VALUES (NEW.upstream, 1, NEW.size)
      ON CONFLICT DO UPDATE SET blobs = blobs + 1, bytes = bytes + excluded.bytes;
    UPDATE blobs SET parents = (SELECT count(*) FROM names n JOIN blobs p ON p.digest = n.parent WHERE n.child = NEW.digest)
      WHERE digest = NEW.digest;
    UPDATE blobs SET parents = parents + 1 WHERE digest IN (SELECT child FROM names WHERE parent = NEW.digest);
  END;
  CREATE TRIGGER blobs_delete AFTER DELETE ON blobs BEGIN
    UPDATE totals SET blobs = blobs - 1, bytes = bytes - OLD.size WHERE upstream = OLD.upstream;
    UPDATE blobs SET parents = parents - 1 WHERE digest IN (SELECT child FROM names WHERE parent = OLD.digest);
  END;
  CREATE TRIGGER blobs_move AFTER UPDATE OF upstream, size ON blobs BEGIN
    UPDATE totals SET blobs = blobs - 1, bytes = bytes - OLD.size WHERE upstream = OLD.upstream;
    INSERT INTO totals VALUES (NEW.upstream, 1, NEW.size)
      ON CONFLICT DO UPDATE SET blobs = blobs + 1, bytes = bytes + excluded.bytes;
  END;
  CREATE TRIGGER names_insert AFTER INSERT ON names BEGIN
    UPDATE blobs SET parents = parents + 1
      WHERE digest = NEW.child AND EXISTS (SELECT 1 FROM blobs WHERE digest = NEW.parent);
  END;
  CREATE TRIGGER names_delete AFTER DELETE ON names BEGIN
    UPDATE blobs SET parents = parents - 1
      WHERE digest = OLD.child AND EXISTS (SELECT 1 FROM blobs WHERE digest = OLD.parent);
  END;
  CREATE TABLE ghosts (
    digest TEXT PRIMARY KEY,
    worth REAL NOT NULL
  ) WITHOUT ROWID;
  CREATE INDEX ghosts_worth ON ghosts (worth);
  CREATE TABLE pins (
    repository INTEGER NOT NULL REFERENCES repositories (id),
    reference TEXT NOT NULL,
    platforms TEXT NOT NULL,
    pinned_at INTEGER NOT NULL,
    PRIMARY KEY (repository, reference)
  ) WITHOUT ROWID;
  CREATE TABLE partials (
    digest TEXT PRIMARY KEY,
    file TEXT NOT NULL,
    repository INTEGER NOT NULL REFERENCES repositories (id),
    size INTEGER NOT NULL,
    written INTEGER NOT NULL,
    synced INTEGER NOT NULL,
    boot TEXT NOT NULL,
    written_at INTEGER NOT NULL
  ) WITHOUT ROWID;
  CREATE TABLE facts (
    name TEXT PRIMARY KEY,
    value TEXT NOT NULL
  ) WITHOUT ROWID;
  `,
];
