/** What is stored as a graph: what leaves together, in what order, and what comes along with a newcomer. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Holdings } from "../../src/meta/holdings.ts";
import { OCI_MANIFEST } from "../../src/oci/mediatypes.ts";
import { digest, place, type Rooms, withRooms } from "./rooms.ts";

const AT = Date.UTC(2026, 0, 1);

function holdingsOf(rooms: Rooms) {
  const holdings = new Holdings(rooms.database, rooms);
  const put = (name: string, sizeBytes: number, children?: readonly string[], subject?: string, at = AT) => {
    rooms.inventory.addBlob(digest(name), sizeBytes, "docker.io", at);
    const of = subject === undefined ? undefined : digest(subject);
    if (children !== undefined || of !== undefined) {
      const naming = { children: (children ?? []).map(digest), subject: of };
      rooms.inventory.addManifest(digest(name), OCI_MANIFEST, naming);
    }
  };
  const unit = (name: string) => holdings.findUnit(digest(name)).map((one) => one.digest);
  return { holdings, put, unit };
}

test("a root leaves with what nothing else names, through all levels, and with its referrers", () =>
  withRooms((rooms) => {
    const { put, unit } = holdingsOf(rooms);
    put("index", 1, ["amd64", "arm64"]);
    put("amd64", 1, ["layer", "shared"]);
    put("arm64", 1, ["shared"]);
    put("other", 1, ["config"]);
    for (const name of ["layer", "shared", "config"]) put(name, 10);
    put("signature", 1, ["config"], "index");
    assert.deepEqual(
      new Set(unit("index")),
      new Set(["index", "amd64", "arm64", "signature", "layer", "shared"].map(digest)),
    );
    assert.deepEqual(unit("other"), [digest("other")]);
  }));

test("what is about something that is not stored leaves by itself", () =>
  withRooms((rooms) => {
    const { holdings, put } = holdingsOf(rooms);
    put("signature", 1, [], "image");
    assert.deepEqual(
      holdings.findVictims(10).map((one) => one.digest),
      [digest("signature")],
    );
  }));

test("candidates come in the order of their worth, and of equal worth none is left out", () =>
  withRooms((rooms) => {
    const { holdings, put } = holdingsOf(rooms);
    for (let at = 0; at < 30; at += 1) put(`b${at}`, 1, undefined, undefined, AT + (at % 3));
    const seen: string[] = [];
    let after: { worth: number; digest: ReturnType<typeof digest> } | undefined;
    for (;;) {
      const found = holdings.findVictims(7, after === undefined ? {} : { after });
      const last = found.at(-1);
      if (last === undefined) break;
      seen.push(...found.map((one) => one.digest));
      after = last;
    }
    assert.equal(new Set(seen).size, 30);
    assert.deepEqual(
      seen.slice(0, 10).toSorted(),
      Array.from({ length: 10 }, (_, at) => digest(`b${at * 3}`)).toSorted(),
    );
  }));

test("of what is to leave only that does which nothing names by then and nobody holds", () =>
  withRooms((rooms) => {
    const { holdings, put } = holdingsOf(rooms);
    put("a", 1, ["own", "shared", "pinned"]);
    put("b", 1, ["shared"]);
    for (const name of ["own", "shared", "pinned"]) put(name, 10);
    rooms.database.prepare("UPDATE blobs SET held = 1 WHERE digest = ?").run(digest("pinned"));
    const gone = holdings.evict(["a", "own", "shared", "pinned", "never"].map(digest));
    assert.deepEqual(
      gone.map((one) => one.digest),
      ["a", "own"].map(digest),
    );
    assert.equal(rooms.inventory.bytes, 21);
    assert.deepEqual(
      holdings.findVictims(10).map((one) => one.digest),
      [digest("b")],
    );
  }));

test("what has left is named, tagged and permitted nowhere", () =>
  withRooms((rooms) => {
    const { holdings, put } = holdingsOf(rooms);
    const app = place("docker.io", "team/app");
    put("a", 1, ["layer"]);
    put("layer", 10);
    const entries = ["a", "layer"].map((name) => ({ digest: digest(name), sizeBytes: 1, confirmed: true }));
    rooms.graph.link(app, entries);
    rooms.tags.put(app, "1" as never, digest("a"), AT);
    holdings.evict(["a", "layer"].map(digest));
    assert.equal(rooms.graph.findReachable(app, digest("layer")), undefined);
    assert.equal(rooms.tags.find(app, "1" as never), undefined);
    assert.equal(rooms.inventory.findMediaType(digest("a")), undefined);
    for (const table of ["names", "reachable", "tags", "blobs", "manifests"]) {
      assert.equal(rooms.database.prepare(`SELECT count(*) AS count FROM ${table}`).get()?.["count"], 0, table);
    }
  }));

test("with a newcomer comes its image, without what that shares with others; of several images the smallest", () =>
  withRooms((rooms) => {
    const { holdings, put } = holdingsOf(rooms);
    const sizes = { new: 100, next: 50, base: 1000 };
    const entries = Object.entries(sizes).map(([name, sizeBytes]) => ({
      digest: digest(name),
      sizeBytes,
      confirmed: false,
    }));
    rooms.graph.link(place("docker.io", "team/app"), entries);
    assert.equal(holdings.findPackBytes(digest("new")), undefined);
    put("image", 1, ["new", "next", "base"]);
    assert.equal(holdings.findPackBytes(digest("new")), 1150);
    put("base", 1000);
    put("other", 1, ["base"]);
    assert.equal(holdings.findPackBytes(digest("new")), 150);
    put("slim", 1, ["new"]);
    assert.equal(holdings.findPackBytes(digest("new")), 100);
  }));

test("of what has left so many are remembered and no more, those that were worth most", () =>
  withRooms((rooms) => {
    const { holdings, put } = holdingsOf(rooms);
    for (let at = 0; at < 10; at += 1) put(`b${at}`, 1, undefined, undefined, AT + at);
    holdings.evict(Array.from({ length: 10 }, (_, at) => digest(`b${at}`)));
    holdings.trimGhosts(4);
    const left = rooms.database
      .prepare("SELECT digest FROM ghosts ORDER BY worth")
      .all()
      .map((row) => row["digest"]);
    assert.deepEqual(
      left,
      [6, 7, 8, 9].map((at) => digest(`b${at}`)),
    );
  }));

test("what fails in the middle is undone, in the totals as well", () =>
  withRooms((rooms) => {
    const { holdings, put } = holdingsOf(rooms);
    put("a", 5);
    rooms.database.exec("CREATE TRIGGER stop BEFORE DELETE ON blobs BEGIN SELECT RAISE(ABORT, 'no'); END");
    assert.throws(() => holdings.evict([digest("a")]));
    assert.equal(rooms.inventory.bytes, 5);
    assert.equal(rooms.inventory.blobs, 1);
  }));
