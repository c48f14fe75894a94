/**
 * What every index owes, whatever it keeps its rows in.
 *
 * A suite: the tests of an implementation call `describeIndex` with a way to make one.
 */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { Graph } from "../../src/meta/graph.ts";
import type { Holdings } from "../../src/meta/holdings.ts";
import type { Inventory } from "../../src/meta/inventory.ts";
import type { Repositories } from "../../src/meta/repositories.ts";
import type { Tags } from "../../src/meta/tags.ts";
import type { Usage } from "../../src/meta/usage.ts";
import type { Digest } from "../../src/oci/digest.ts";
import { OCI_INDEX, OCI_MANIFEST } from "../../src/oci/mediatypes.ts";
import { parseTag } from "../../src/oci/reference.ts";
import { ManualClock } from "../kit/clock.ts";
import { digest, place } from "../meta/rooms.ts";
import { describeIndexSequences } from "./index-sequences.ts";

/** The rooms of an index, as they are used. */
export interface IndexRooms {
  readonly repositories: Pick<Repositories, "findId" | "idOf" | "list">;
  readonly tags: Pick<Tags, "find" | "put" | "drop" | "hasAny" | "namesOf">;
  readonly graph: Pick<Graph, "findReachable" | "link">;
  readonly inventory: Pick<
    Inventory,
    | "blobs"
    | "bytes"
    | "findSize"
    | "findUpstream"
    | "addBlob"
    | "addBlobs"
    | "correctSize"
    | "dropBlob"
    | "sizesBetween"
    | "findMediaType"
    | "addManifest"
    | "findUnlinked"
    | "dropManifest"
  >;
  readonly holdings: Pick<Holdings, "find" | "bytesOf" | "findVictims" | "findUnit" | "remove">;
  readonly usage: Pick<Usage, "note" | "worthOf" | "flush" | "now">;
}

export interface IndexUnderTest {
  readonly rooms: IndexRooms;
  /** As a pin does. */
  hold(digest: Digest, held: boolean): void;
  /** Closed and opened again: the rooms are new ones, what they hold is not. */
  reopen(): void;
  [Symbol.asyncDispose](): Promise<void>;
}

export type MakeIndex = (clock: ManualClock) => Promise<IndexUnderTest>;

const app = place("docker.io", "team/app");
const fork = place("ghcr.io", "team/app");
const HOUR = 3_600_000;

export function describeIndex(name: string, make: MakeIndex): void {
  const withIndex = (title: string, work: (made: IndexUnderTest, clock: ManualClock) => void) =>
    test(title, async () => {
      const clock = new ManualClock();
      await using made = await make(clock);
      work(made, clock);
    });
  describe(`${name}: names and permissions`, () => describeNames(withIndex));
  describe(`${name}: what is stored`, () => describeStored(withIndex));
  describe(`${name}: what leaves together`, () => describeUnits(withIndex));
  describe(`${name}: uses`, () => describeUses(withIndex));
  describe(`${name}: whatever is done`, () => describeIndexSequences(make));
}

type WithIndex = (title: string, work: (made: IndexUnderTest, clock: ManualClock) => void) => void;

function describeNames(withIndex: WithIndex): void {
  withIndex("a repository has one number, another than every other's, for good", (made) => {
    const { repositories } = made.rooms;
    assert.equal(repositories.findId(app), undefined);
    const id = repositories.idOf(app);
    assert.notEqual(repositories.idOf(fork), id);
    made.reopen();
    assert.equal(made.rooms.repositories.idOf(app), id);
    assert.equal(made.rooms.repositories.findId(app), id);
    assert.deepEqual(made.rooms.repositories.list(), [], "nothing is cached of either");
  });

  withIndex("a tag is what it was last put to, where it was put, until it is dropped", (made) => {
    const one = parseTag("1");
    made.rooms.tags.put(app, one, digest("a"), 5);
    made.rooms.tags.put(app, one, digest("b"), 7);
    made.rooms.tags.put(app, parseTag("0"), digest("a"), 7);
    for (const again of [() => {}, () => made.reopen()]) {
      again();
      const { tags, repositories } = made.rooms;
      assert.deepEqual(tags.find(app, one), { digest: digest("b"), checkedAt: 7 });
      assert.equal(tags.find(fork, one), undefined);
      assert.deepEqual([tags.hasAny(app), tags.hasAny(fork)], [true, false]);
      assert.deepEqual(tags.namesOf(app), ["0", "1"]);
      assert.deepEqual(repositories.list(), [app]);
    }
    made.rooms.tags.drop(app, one);
    made.rooms.tags.drop(fork, one);
    assert.equal(made.rooms.tags.find(app, one), undefined);
    made.reopen();
    assert.deepEqual(made.rooms.tags.namesOf(app), ["0"]);
  });

  withIndex("permission is of one repository; a size fills a gap, and the upstream's word stays", (made) => {
    const { graph } = made.rooms;
    graph.link(app, [{ digest: digest("a"), sizeBytes: -1, confirmed: true }]);
    graph.link(app, [{ digest: digest("a"), sizeBytes: 10, confirmed: false }]);
    graph.link(app, [{ digest: digest("a"), sizeBytes: 99, confirmed: false }]);
    graph.link(app, [
      { digest: digest("b"), sizeBytes: 3, confirmed: false },
      { digest: digest("b"), sizeBytes: 3, confirmed: true },
    ]);
    made.reopen();
    const again = made.rooms.graph;
    assert.deepEqual(again.findReachable(app, digest("a")), { digest: digest("a"), sizeBytes: 10, confirmed: true });
    assert.deepEqual(again.findReachable(app, digest("b")), { digest: digest("b"), sizeBytes: 3, confirmed: true });
    assert.equal(again.findReachable(fork, digest("a")), undefined);
    assert.equal(again.findReachable(app, digest("c")), undefined);
  });

  withIndex("links are made all or none", (made) => {
    const { graph } = made.rooms;
    function* broken() {
      yield { digest: digest("a"), sizeBytes: 1, confirmed: true };
      throw new Error("half way");
    }
    assert.throws(() => graph.link(app, broken()), /half way/);
    assert.equal(graph.findReachable(app, digest("a")), undefined);
    graph.link(app, [{ digest: digest("b"), sizeBytes: 1, confirmed: true }]);
    assert.ok(graph.findReachable(app, digest("b")));
  });
}

function describeStored(withIndex: WithIndex): void {
  withIndex("a blob is counted once, with the size it came with, and where it is from is learned once", (made) => {
    const { inventory } = made.rooms;
    inventory.addBlob(digest("a"), 10, "", 5);
    assert.equal(inventory.findUpstream(digest("a")), undefined);
    inventory.addBlob(digest("a"), 99, "docker.io", 6);
    inventory.addBlob(digest("a"), 99, "quay.io", 7);
    inventory.addBlob(digest("b"), 0, "quay.io", 7);
    for (const again of [() => {}, () => made.reopen()]) {
      again();
      const { inventory: now, holdings } = made.rooms;
      assert.deepEqual([now.blobs, now.bytes], [2, 10]);
      assert.deepEqual(
        [now.findSize(digest("a")), now.findSize(digest("b")), now.findSize(digest("c"))],
        [10, 0, undefined],
      );
      assert.equal(now.findUpstream(digest("a")), "docker.io");
      assert.deepEqual([holdings.bytesOf("docker.io"), holdings.bytesOf("quay.io"), holdings.bytesOf("")], [10, 0, 0]);
      assert.equal(holdings.find(digest("a"))?.sizeBytes, 10);
      assert.equal(holdings.find(digest("c")), undefined);
    }
    made.rooms.inventory.dropBlob(digest("a"));
    made.rooms.inventory.dropBlob(digest("a"));
    assert.deepEqual([made.rooms.inventory.blobs, made.rooms.holdings.bytesOf("docker.io")], [1, 0]);
  });

  withIndex("many blobs are added at once, listed by digest in pages, and corrected", (made) => {
    const { inventory, holdings } = made.rooms;
    const all = [...Array(20).keys()].map((at) => digest(String(at))).sort();
    inventory.addBlobs(all.map((of, at) => ({ digest: of, sizeBytes: at, upstream: "docker.io", storedAt: 1 })));
    const [first, last] = [all[0], all.at(-1)];
    assert.ok(first !== undefined && last !== undefined);
    assert.deepEqual(
      inventory.sizesBetween("", "sha256:g", 100).map((row) => row.digest),
      all,
    );
    assert.deepEqual(inventory.sizesBetween(first, last, 2), [
      { digest: all[1], sizeBytes: 1 },
      { digest: all[2], sizeBytes: 2 },
    ]);
    inventory.correctSize(first, 1000);
    inventory.correctSize(digest("absent"), 7);
    assert.deepEqual([inventory.findSize(first), inventory.bytes, holdings.bytesOf("docker.io")], [1000, 1190, 1190]);
  });

  withIndex("a manifest keeps the type that was decided first, and what it names is known from then on", (made) => {
    const { inventory } = made.rooms;
    assert.equal(inventory.findMediaType(digest("m")), undefined);
    inventory.addManifest(digest("m"), OCI_MANIFEST, { children: [], subject: undefined });
    inventory.addManifest(digest("m"), OCI_INDEX, { children: [], subject: undefined });
    made.reopen();
    assert.equal(made.rooms.inventory.findMediaType(digest("m")), OCI_MANIFEST);
    assert.deepEqual(made.rooms.inventory.findUnlinked("", 10), []);
    made.rooms.inventory.dropManifest(digest("m"));
    assert.equal(made.rooms.inventory.findMediaType(digest("m")), undefined);
  });
}

/** Stores a document with what it names, as a shelf does. */
function putManifest({ inventory }: IndexRooms, name: string, children: readonly string[], subject?: string): void {
  inventory.addBlob(digest(name), name.length, "docker.io", 1);
  const naming = { children: children.map(digest), subject: subject === undefined ? undefined : digest(subject) };
  inventory.addManifest(digest(name), OCI_MANIFEST, naming);
}

function putBlobs({ inventory }: IndexRooms, names: readonly string[]): void {
  for (const name of names) inventory.addBlob(digest(name), name.length, "docker.io", 1);
}

const namesOf = (found: readonly { readonly digest: Digest }[], known: readonly string[]) =>
  found.map((one) => known.find((name) => digest(name) === one.digest)).sort();

function describeUnits(withIndex: WithIndex): void {
  const all = ["index", "one", "two", "base", "top1", "top2", "sign", "other"];

  withIndex("an image leaves with all that nobody else names; what others share stays", (made) => {
    const { rooms } = made;
    putBlobs(rooms, ["base", "top1", "top2"]);
    putManifest(rooms, "one", ["base", "top1"]);
    putManifest(rooms, "two", ["base", "top2"]);
    putManifest(rooms, "index", ["one", "not stored"]);
    assert.deepEqual(namesOf(rooms.holdings.findVictims(10), all), ["index", "two"]);
    assert.deepEqual(namesOf(rooms.holdings.findUnit(digest("index")), all), ["index", "one", "top1"]);
    assert.deepEqual(namesOf(rooms.holdings.findUnit(digest("two")), all), ["top2", "two"]);
    assert.equal(rooms.holdings.findUnit(digest("index"))[0]?.digest, digest("index"), "itself first");
    assert.deepEqual(rooms.holdings.findUnit(digest("not stored")), []);
    rooms.holdings.remove(
      rooms.holdings.findUnit(digest("index")).map((one) => one.digest),
      true,
    );
    made.reopen();
    assert.deepEqual(namesOf(made.rooms.holdings.findUnit(digest("two")), all), ["base", "top2", "two"]);
    assert.deepEqual([made.rooms.inventory.blobs, made.rooms.inventory.findMediaType(digest("one"))], [3, undefined]);
  });

  withIndex("what one of them names twice over leaves once, when all that names it does", (made) => {
    const { rooms } = made;
    putBlobs(rooms, ["base"]);
    putManifest(rooms, "one", ["base"]);
    putManifest(rooms, "two", ["base"]);
    putManifest(rooms, "index", ["one", "two", "base"]);
    assert.deepEqual(namesOf(rooms.holdings.findUnit(digest("index")), all), ["base", "index", "one", "two"]);
  });

  withIndex("a signature leaves with what it is about, and what names itself keeps nobody", (made) => {
    const { rooms } = made;
    putManifest(rooms, "one", ["one"], "one");
    putManifest(rooms, "sign", [], "one");
    assert.deepEqual(namesOf(rooms.holdings.findVictims(10), all), ["one"]);
    assert.deepEqual(namesOf(rooms.holdings.findUnit(digest("one")), all), ["one", "sign"]);
  });

  withIndex("what turns out to be damaged keeps nothing, and keeps it again when it was stored again", (made) => {
    const { rooms } = made;
    putBlobs(rooms, ["base"]);
    putManifest(rooms, "one", ["base"]);
    rooms.inventory.dropBlob(digest("one"));
    assert.deepEqual(namesOf(rooms.holdings.findVictims(10), all), ["base"]);
    putManifest(rooms, "one", ["base"]);
    assert.deepEqual(namesOf(rooms.holdings.findVictims(10), all), ["one"]);
    assert.deepEqual(namesOf(rooms.holdings.findUnit(digest("one")), all), ["base", "one"]);
  });

  withIndex("what is held never leaves, nor does what it names", (made) => {
    const { rooms } = made;
    putBlobs(rooms, ["base", "top1"]);
    putManifest(rooms, "one", ["base"]);
    putManifest(rooms, "index", ["one", "top1"]);
    putManifest(rooms, "two", ["base"]);
    made.hold(digest("one"), true);
    assert.deepEqual(namesOf(rooms.holdings.findUnit(digest("index")), all), ["index", "top1"]);
    assert.deepEqual(namesOf(rooms.holdings.findUnit(digest("two")), all), ["two"]);
    made.hold(digest("index"), true);
    assert.deepEqual(namesOf(rooms.holdings.findVictims(10), all), ["two"]);
    made.reopen();
    assert.deepEqual(namesOf(made.rooms.holdings.findVictims(10), all), ["two"]);
    made.hold(digest("index"), false);
    made.hold(digest("one"), false);
    assert.deepEqual(namesOf(made.rooms.holdings.findVictims(10), all), ["index", "two"]);
  });

  withIndex("with what leaves go the tags and permissions that hang on it, and on what only it named", (made) => {
    const { rooms } = made;
    putBlobs(rooms, ["base"]);
    putManifest(rooms, "one", ["base", "never fetched"]);
    putManifest(rooms, "two", ["base"]);
    for (const [name, tag] of [
      ["one", "1"],
      ["two", "2"],
    ] as const)
      rooms.tags.put(app, parseTag(tag), digest(name), 1);
    rooms.tags.put(fork, parseTag("1"), digest("one"), 1);
    for (const name of ["one", "two", "base", "never fetched"]) {
      rooms.graph.link(app, [{ digest: digest(name), sizeBytes: 1, confirmed: true }]);
    }
    rooms.holdings.remove([digest("one")], false);
    const { tags, graph } = rooms;
    assert.equal(tags.find(app, parseTag("1")), undefined);
    assert.equal(tags.find(fork, parseTag("1")), undefined);
    assert.ok(tags.find(app, parseTag("2")));
    const readable = ["one", "two", "base", "never fetched"].filter((name) => graph.findReachable(app, digest(name)));
    assert.deepEqual(readable, ["two", "base"]);
    rooms.holdings.remove([digest("one")], true);
    assert.equal(rooms.inventory.blobs, 2);
  });

  withIndex("of one upstream only what came from there", ({ rooms }) => {
    rooms.inventory.addBlob(digest("one"), 1, "docker.io", 1);
    rooms.inventory.addBlob(digest("two"), 1, "ghcr.io", 2);
    assert.deepEqual(namesOf(rooms.holdings.findVictims(10, { from: "ghcr.io" }), all), ["two"]);
    assert.deepEqual(rooms.holdings.findVictims(10, { from: "quay.io" }), []);
    assert.equal(rooms.holdings.findVictims(1).length, 1);
  });
}

function describeUses(withIndex: WithIndex): void {
  withIndex(
    "what was used last, and what was used often, is worth more; it is written down by a flush",
    (made, clock) => {
      const at = clock.now();
      for (const name of ["a", "b", "c"]) made.rooms.inventory.addBlob(digest(name), 1, "docker.io", at);
      made.rooms.usage.note(digest("b"), 5);
      made.rooms.usage.note(digest("a"));
      assert.equal(made.rooms.holdings.find(digest("b"))?.hits, 0);
      const worth = made.rooms.usage.worthOf(digest("b"));
      made.rooms.usage.flush();
      made.reopen();
      const { holdings } = made.rooms;
      assert.equal(holdings.find(digest("b"))?.hits, 5);
      assert.equal(holdings.find(digest("b"))?.worth, worth);
      assert.equal(holdings.find(digest("b"))?.lastUsedAt, at);
      const order = holdings.findVictims(10).map((one) => one.digest);
      assert.deepEqual(order, [digest("c"), digest("a"), digest("b")]);
    },
  );

  withIndex("a manifest that is used is a use of the index that names it, which is worth no less", (made, clock) => {
    const at = clock.now();
    putManifest(made.rooms, "one", []);
    putManifest(made.rooms, "index", ["one"]);
    made.rooms.inventory.addBlob(digest("other"), 1, "docker.io", at);
    made.rooms.usage.note(digest("one"), 3);
    made.rooms.usage.flush();
    const [one, index] = [digest("one"), digest("index")].map((of) => made.rooms.holdings.find(of)?.worth ?? 0);
    assert.ok(one !== undefined && index !== undefined && index >= one);
    assert.deepEqual(
      made.rooms.holdings.findVictims(10).map((found) => found.digest),
      [digest("other"), digest("index")],
    );
  });

  withIndex("the clock of uses never runs back, and leaps neither with the clock nor over a restart", (made, clock) => {
    const { usage } = made.rooms;
    const began = usage.now();
    made.rooms.usage.flush();
    clock.jump(100 * 365 * 24 * HOUR);
    const after = usage.now();
    assert.ok(after - began <= HOUR, `${after - began}`);
    clock.jump(-200 * 365 * 24 * HOUR);
    assert.equal(usage.now(), after);
    usage.flush();
    made.reopen();
    assert.ok(made.rooms.usage.now() >= after);
    clock.jump(1000);
    assert.ok(made.rooms.usage.now() <= after + HOUR);
  });
}
