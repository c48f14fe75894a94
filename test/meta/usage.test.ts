/** Uses are counted, written down, and dated by a clock that only runs forward. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Usage } from "../../src/meta/usage.ts";
import { HALF_LIFE_MS, worthAfter } from "../../src/meta/worth.ts";
import { OCI_INDEX, OCI_MANIFEST } from "../../src/oci/mediatypes.ts";
import { ManualClock } from "../kit/clock.ts";
import { digest, type Rooms, withRooms } from "./rooms.ts";

const HOUR = 3_600_000;
const DAY = 24 * HOUR;

function rowOf({ database }: Rooms, name: string) {
  const row = database.prepare("SELECT worth, hits, last_used FROM blobs WHERE digest = ?").get(digest(name));
  return { worth: Number(row?.["worth"]), hits: Number(row?.["hits"]), lastUsedAt: Number(row?.["last_used"]) };
}

test("uses are written down together, with their number and their time", () =>
  withRooms((rooms) => {
    const clock = new ManualClock();
    const usage = new Usage(rooms.database, clock);
    rooms.inventory.addBlob(digest("a"), 1, "docker.io", clock.now());
    clock.jump(HOUR);
    usage.note(digest("a"));
    usage.note(digest("a"), 2);
    assert.equal(usage.isNoted(digest("a")), true);
    assert.equal(rowOf(rooms, "a").hits, 0);
    assert.equal(usage.flush(), false);
    assert.equal(usage.isNoted(digest("a")), false);
    const { worth, hits, lastUsedAt } = rowOf(rooms, "a");
    assert.deepEqual([hits, lastUsedAt], [3, clock.now()]);
    assert.equal(worth, worthAfter(clock.now() - HOUR, usage.now(), 3));
  }));

test("a use of a manifest is one of its index, and a use of a layer is none of the images that share it", () =>
  withRooms((rooms) => {
    const clock = new ManualClock();
    const usage = new Usage(rooms.database, clock);
    const { inventory } = rooms;
    for (const name of ["index", "image", "layer"]) inventory.addBlob(digest(name), 1, "docker.io", clock.now());
    inventory.addManifest(digest("index"), OCI_INDEX, { children: [digest("image")], subject: undefined });
    inventory.addManifest(digest("image"), OCI_MANIFEST, { children: [digest("layer")], subject: undefined });
    const before = rowOf(rooms, "image").worth;
    clock.jump(HOUR);
    usage.note(digest("layer"));
    usage.flush();
    assert.equal(rowOf(rooms, "image").worth, before);
    usage.note(digest("image"));
    usage.flush();
    assert.equal(rowOf(rooms, "index").worth, rowOf(rooms, "image").worth);
  }));

test("what is used while it is not stored is worth more when it comes", () =>
  withRooms((rooms) => {
    const clock = new ManualClock();
    const usage = new Usage(rooms.database, clock);
    usage.note(digest("a"), 7);
    usage.flush();
    assert.equal(usage.worthOf(digest("a"), 1), worthAfter(clock.now() + HALF_LIFE_MS * Math.log2(7), clock.now(), 1));
    rooms.inventory.addBlob(digest("a"), 1, "docker.io", clock.now());
    rooms.inventory.addBlob(digest("b"), 1, "docker.io", clock.now());
    assert.ok(rowOf(rooms, "a").worth > rowOf(rooms, "b").worth);
  }));

test("a clock that jumps back and forth does not change the order of uses, over restarts as well", () =>
  withRooms((rooms) => {
    const clock = new ManualClock();
    let usage = new Usage(rooms.database, clock);
    const worths: number[] = [];
    const use = (name: string) => {
      rooms.inventory.addBlob(digest(name), 1, "docker.io", usage.dateOf(clock.now()));
      usage.note(digest(name));
      usage.flush();
      worths.push(rowOf(rooms, name).worth);
    };
    use("first");
    // Ten years ahead for a moment, then back by twenty, then as it was.
    for (const [name, jump] of [
      ["ahead", 3650 * DAY],
      ["back", -7300 * DAY],
      ["again", 3650 * DAY],
      ["on", HOUR],
    ] as const) {
      clock.jump(jump);
      use(name);
      usage = new Usage(rooms.database, clock);
      clock.jump(1000);
    }
    assert.deepEqual(
      worths,
      worths.toSorted((a, b) => a - b),
    );
    const [first = 0, last = 0] = [worths[0], worths.at(-1)];
    assert.ok(last - first < 40 * DAY, "a clock that was wrong decides for years");
  }));

test("while it runs, a leap of the clock counts as an hour, and a step back as nothing", () =>
  withRooms((rooms) => {
    const clock = new ManualClock();
    const usage = new Usage(rooms.database, clock);
    const startedAt = usage.now();
    clock.jump(1000);
    assert.equal(usage.now() - startedAt, 1000);
    clock.jump(365 * DAY);
    assert.equal(usage.now() - startedAt, 1000 + HOUR);
    clock.jump(-366 * DAY);
    assert.equal(usage.now() - startedAt, 1000 + HOUR);
    clock.jump(5000);
    assert.equal(usage.now() - startedAt, 6000 + HOUR);
  }));

test("what is found by its file is dated by its age", () =>
  withRooms(({ database }) => {
    const clock = new ManualClock();
    const usage = new Usage(database, clock);
    clock.jump(365 * DAY);
    const now = usage.now();
    assert.equal(usage.dateOf(clock.now() - DAY), now - DAY);
    assert.equal(usage.dateOf(clock.now() + DAY), now);
  }));

test("many uses are written down in slices, and none is lost between them or where the database fails", () =>
  withRooms((rooms) => {
    const clock = new ManualClock();
    const usage = new Usage(rooms.database, clock);
    const names = Array.from({ length: 300 }, (_, at) => `b${at}`);
    for (const name of names) rooms.inventory.addBlob(digest(name), 1, "docker.io", clock.now());
    let calls = 0;
    usage.whenNoted(() => {
      calls += 1;
    });
    for (const name of names) usage.note(digest(name));
    assert.equal(calls, 1);
    rooms.database.exec("BEGIN");
    assert.throws(() => usage.flush());
    rooms.database.exec("ROLLBACK");
    let slices = 1;
    while (usage.flush(0)) slices += 1;
    assert.ok(slices > 5);
    assert.ok(names.every((name) => rowOf(rooms, name).hits === 1));
  }));
