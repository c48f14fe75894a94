/** Pins: what they hold, whoever moves a tag or stores a blob; across restarts; and edges that are cut. */
import assert from "node:assert/strict";
import test from "node:test";
import { type Database, openDatabase } from "../../src/meta/database.ts";
import { Holdings } from "../../src/meta/holdings.ts";
import { Inventory } from "../../src/meta/inventory.ts";
import { Pins } from "../../src/meta/pins.ts";
import { Repositories } from "../../src/meta/repositories.ts";
import { Tags } from "../../src/meta/tags.ts";
import { type Digest, digestOf } from "../../src/oci/digest.ts";
import { parseRepository, parseTag } from "../../src/oci/reference.ts";
import { makeTempDir } from "../kit/temp.ts";

const PLACE = { upstream: "docker.io", repository: parseRepository("library/app") };
const OTHER = { upstream: "ghcr.io", repository: parseRepository("org/app") };
const TAG = parseTag("1");

function digest(name: string): Digest {
  return digestOf(Buffer.from(name));
}

function open(database: Database) {
  const repositories = new Repositories(database);
  const tags = new Tags(database, repositories);
  const inventory = new Inventory(database);
  const pins = new Pins(database, repositories);
  const holdings = new Holdings(database, { inventory, tags, repositories });
  const held = (name: string) =>
    Number(database.prepare("SELECT held FROM blobs WHERE digest = ?").get(digest(name))?.["held"] ?? Number.NaN);
  const store = (name: string, children: readonly string[] = []) => {
    inventory.addBlob(digest(name), 10, "docker.io", 1000);
    inventory.addManifest(digest(name), "application/json", { children: children.map(digest), subject: undefined });
  };
  const victims = () => holdings.findVictims(100).map(({ digest }) => digest);
  return { repositories, tags, inventory, pins, holdings, held, store, victims };
}

async function withRooms(run: (rooms: ReturnType<typeof open>, reopen: () => ReturnType<typeof open>) => void) {
  await using dir = await makeTempDir("pins");
  let database = openDatabase(dir.path);
  const reopen = () => {
    database.close();
    database = openDatabase(dir.path);
    return open(database);
  };
  try {
    run(open(database), reopen);
  } finally {
    database.close();
  }
}

test("a pin on a tag holds what it names, now and when it moves", () =>
  withRooms(({ pins, tags, held, store, victims }) => {
    store("one");
    store("two");
    tags.put(PLACE, TAG, digest("one"), 1);
    pins.put(PLACE, "1", [], 5);
    assert.deepEqual([held("one"), held("two")], [1, 0]);
    assert.deepEqual(victims(), [digest("two")]);
    tags.put(PLACE, TAG, digest("one"), 2);
    assert.equal(held("one"), 1, "the same again is no second pin");
    tags.put(PLACE, TAG, digest("two"), 3);
    assert.deepEqual([held("one"), held("two")], [0, 1]);
    tags.drop(PLACE, TAG);
    assert.equal(held("two"), 0);
    tags.put(PLACE, TAG, digest("one"), 4);
    assert.equal(held("one"), 1, "the pin is still there");
    assert.equal(pins.drop(PLACE, "1"), true);
    assert.equal(pins.drop(PLACE, "1"), false);
    assert.equal(held("one"), 0);
  }));

test("what is pinned before it comes is held when it comes, by tag or digest, and again when it comes back", () =>
  withRooms(({ pins, tags, held, store, inventory }) => {
    pins.put(PLACE, "1", [], 5);
    pins.put(OTHER, digest("late"), [], 5);
    assert.equal(pins.find(PLACE, "1")?.digest, undefined);
    tags.put(PLACE, TAG, digest("late"), 1);
    store("late");
    assert.equal(held("late"), 2);
    inventory.dropBlob(digest("late"));
    store("late");
    assert.equal(held("late"), 2);
    assert.deepEqual(
      pins.holding(digest("late"), 10).map(({ place }) => place.upstream),
      ["docker.io", "ghcr.io"],
    );
  }));

test("pins and what they hold are the same after a restart", () =>
  withRooms((rooms, reopen) => {
    rooms.store("one");
    rooms.tags.put(PLACE, TAG, digest("one"), 1);
    rooms.pins.put(PLACE, "1", ["linux/amd64"], 5);
    const { pins, held, tags, store } = reopen();
    const pin = { place: PLACE, reference: "1", platforms: ["linux/amd64"], pinnedAt: 5, digest: digest("one") };
    assert.deepEqual(pins.list(10), [pin]);
    assert.equal(held("one"), 1);
    store("two");
    tags.put(PLACE, TAG, digest("two"), 2);
    assert.deepEqual([held("one"), held("two")], [0, 1]);
  }));

test("pinning anew changes the platforms and counts once", () =>
  withRooms(({ pins, tags, held, store }) => {
    store("one");
    tags.put(PLACE, TAG, digest("one"), 1);
    pins.put(PLACE, "1", [], 5);
    pins.put(PLACE, "1", ["linux/amd64"], 6);
    assert.equal(held("one"), 1);
    assert.deepEqual([...pins.narrowed()], [[digest("one"), ["linux/amd64"]]]);
    pins.put(OTHER, digest("one"), ["linux/arm64"], 6);
    assert.deepEqual([...pins.narrowed()], [[digest("one"), ["linux/amd64", "linux/arm64"]]]);
    pins.put(OTHER, digest("one"), [], 7);
    assert.deepEqual([...pins.narrowed()], [], "who wants all wants all");
    assert.equal(held("one"), 2);
  }));

test("edges that are cut let their children go, are not drawn again, and are restored", () =>
  withRooms((rooms, reopen) => {
    rooms.store("amd64", ["layer"]);
    rooms.store("arm64", ["layer"]);
    rooms.store("index", ["amd64", "arm64"]);
    rooms.pins.put(PLACE, digest("index"), ["linux/amd64"], 5);
    assert.deepEqual(rooms.victims(), []);
    rooms.pins.cut(digest("index"), { away: [digest("arm64")], kept: [digest("amd64")] });
    assert.deepEqual(rooms.victims(), [digest("arm64")]);
    rooms.store("index", ["amd64", "arm64"]);
    assert.deepEqual(rooms.victims(), [digest("arm64")], "whoever stores it anew draws them not");
    assert.deepEqual(
      rooms.holdings.findUnit(digest("arm64")).map((one) => one.digest),
      [digest("arm64")],
    );
    const { pins, victims } = reopen();
    assert.deepEqual(pins.cutIndexes(), [digest("index")]);
    pins.cut(digest("index"), { away: [], kept: [digest("amd64"), digest("arm64")] });
    assert.deepEqual(victims(), []);
    assert.deepEqual(pins.cutIndexes(), []);
  }));

test("of what is pinned, what a lost document names stays held until it is there again, across restarts", () =>
  withRooms((rooms, reopen) => {
    let { inventory, holdings, pins, tags, held, store, victims } = rooms;
    store("one", ["layer", "shared"]);
    store("other", ["shared"]);
    store("index", ["one"]);
    for (const blob of ["layer", "shared"]) inventory.addBlob(digest(blob), 10, "docker.io", 1);
    tags.put(PLACE, TAG, digest("index"), 1);
    tags.put(OTHER, TAG, digest("other"), 1);
    pins.put(PLACE, TAG, [], 1);
    // As a scrub does, and as one who finds no file.
    holdings.remove([digest("one")], true);
    inventory.dropBlob(digest("index"));
    assert.deepEqual(new Set(pins.missed), new Set([digest("index"), digest("one")]));
    assert.deepEqual(victims(), [digest("other")]);
    assert.deepEqual([held("layer"), held("shared")], [1, 1]);
    ({ inventory, holdings, pins, tags, held, store, victims } = reopen());
    assert.deepEqual([held("layer"), held("shared")], [1, 1]);
    pins.settle();
    holdings.evict([digest("layer"), digest("other"), digest("shared")]);
    assert.equal(inventory.findSize(digest("other")), undefined);
    assert.notEqual(inventory.findSize(digest("layer")), undefined);
    assert.equal(pins.find(PLACE, TAG)?.digest, digest("index"));
    store("one", ["layer", "shared"]);
    assert.deepEqual([held("one"), held("layer"), held("shared")], [1, 0, 0]);
    store("index", ["one"]);
    assert.deepEqual([held("index"), held("one"), pins.missed.length], [1, 0, 0]);
    assert.deepEqual(victims(), []);
    pins.drop(PLACE, TAG);
    assert.deepEqual(new Set(holdings.findUnit(digest("index")).map((one) => one.digest)).size, 4);
  }));

test("a pinned tag keeps its name when its document is lost, by whatever way, and lets go when it moves or is unpinned", () =>
  withRooms(({ inventory, holdings, pins, tags, held, store, victims }) => {
    store("one", ["layer"]);
    inventory.addBlob(digest("layer"), 10, "docker.io", 1);
    tags.put(PLACE, TAG, digest("one"), 1);
    pins.put(PLACE, TAG, [], 1);
    holdings.remove([digest("one")], false);
    assert.equal(tags.find(PLACE, TAG)?.digest, digest("one"));
    assert.deepEqual([held("layer"), victims()], [1, []]);
    store("two", []);
    tags.put(PLACE, TAG, digest("two"), 2);
    pins.settle();
    assert.deepEqual([held("two"), held("layer"), pins.missed, victims()], [1, 0, [], [digest("layer")]]);
    store("one", ["layer"]);
    pins.put(PLACE, digest("one"), [], 1);
    holdings.remove([digest("one")], false);
    assert.equal(held("layer"), 1);
    pins.drop(PLACE, digest("one"));
    pins.settle();
    assert.deepEqual([held("layer"), pins.missed], [0, []]);
  }));

test("changes of what is held are told", () =>
  withRooms(({ pins, tags, store }) => {
    let told = 0;
    pins.onChange(() => {
      told += 1;
    });
    pins.put(PLACE, "1", [], 5);
    assert.equal(told, 0, "it holds nothing yet");
    tags.put(PLACE, TAG, digest("one"), 1);
    assert.ok(told > 0);
    const before = told;
    store("one");
    assert.ok(told > before);
    const since = told;
    store("other");
    tags.put(OTHER, TAG, digest("other"), 1);
    assert.equal(told, since, "what is not pinned costs nothing");
  }));

test("pins are listed in pages", () =>
  withRooms(({ pins }) => {
    for (let at = 0; at < 25; at++) pins.put(at % 2 === 0 ? PLACE : OTHER, `t${at}`, [], at);
    const seen: string[] = [];
    for (let page = pins.list(10); page.length > 0; page = pins.list(10, page.at(-1))) {
      seen.push(...page.map(({ reference }) => reference));
    }
    assert.equal(new Set(seen).size, 25);
    assert.equal(seen.length, 25);
  }));
