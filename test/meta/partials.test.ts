/** What is on disk of unfinished blobs: how far it counts, and under which start of the machine. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Partials } from "../../src/meta/partials.ts";
import { parseTag } from "../../src/oci/reference.ts";
import { digest, place, withRooms } from "./rooms.ts";

const app = place("docker.io", "library/app");
const note = {
  digest: digest("a"),
  file: "sha256-aa.00000000-1",
  place: app,
  sizeBytes: 100,
  writtenBytes: 50,
  syncedBytes: 20,
};

test("under the same start of the machine all that was written counts, under another one what was synced", () =>
  withRooms(({ database, repositories }) => {
    new Partials(database, repositories, "one").put([note], 7);
    const expected = { digest: note.digest, file: note.file, place: app, sizeBytes: 100, notedAt: 7 };
    for (const [boot, prefixBytes] of [
      ["one", 50],
      ["two", 20],
      [undefined, 20],
    ] as const) {
      const partials = new Partials(database, repositories, boot);
      assert.deepEqual(partials.find(note.digest), { ...expected, prefixBytes });
      assert.deepEqual(partials.list(), [{ ...expected, prefixBytes }]);
    }
  }));

test("where nothing tells one start from another, only what was synced counts", () =>
  withRooms(({ database, repositories }) => {
    const partials = new Partials(database, repositories, undefined);
    partials.put([note], 7);
    assert.equal(partials.find(note.digest)?.prefixBytes, 20);
  }));

test("what was synced of a file stays so, and says nothing of another file", () =>
  withRooms(({ database, repositories }) => {
    const partials = new Partials(database, repositories, undefined);
    partials.put([note], 1);
    partials.put([{ ...note, writtenBytes: 60, syncedBytes: 0 }], 2);
    assert.equal(partials.find(note.digest)?.prefixBytes, 20);
    partials.put([{ ...note, file: "sha256-aa.00000000-2", syncedBytes: 0 }], 3);
    assert.equal(partials.find(note.digest)?.prefixBytes, 0);
  }));

test("a row is dropped by digest and file together", () =>
  withRooms(({ database, repositories }) => {
    const partials = new Partials(database, repositories, "one");
    partials.put([note, { ...note, digest: digest("b"), file: "sha256-bb.00000000-1" }], 1);
    partials.drop(note.digest, "sha256-aa.00000000-2");
    assert.equal(partials.list().length, 2);
    partials.drop(note.digest, note.file);
    assert.deepEqual(
      partials.list().map((partial) => partial.digest),
      [digest("b")],
    );
    assert.equal(partials.find(note.digest), undefined);
  }));

test("a repository that is noted in a transaction that is undone does not share the number of the next one", () =>
  withRooms(({ database, repositories, tags }) => {
    const partials = new Partials(database, repositories, "boot");
    database.exec(
      "CREATE TEMP TRIGGER full BEFORE INSERT ON main.partials WHEN NEW.file = 'two' BEGIN SELECT RAISE(ABORT, 'full'); END",
    );
    // Two notes of the same place: the second one looks its number up.
    assert.throws(() => partials.put([note, { ...note, digest: digest("b"), file: "two" }], 7));
    const other = place("docker.io", "library/other");
    tags.put(other, parseTag("latest"), digest("an image"), 1);
    assert.equal(repositories.findId(app), undefined);
    assert.equal(tags.find(app, parseTag("latest")), undefined);
  }));
