/** What leaves a full store, for whom, and what never does. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Tag } from "../../src/oci/reference.ts";
import { digest, place } from "../meta/rooms.ts";
import { HOUR, MINUTE, withScene } from "./evicting.ts";

test("what is worth least leaves first, with all that nothing else names, and what others share stays", () =>
  withScene({}, async (scene) => {
    scene.put("base", 100);
    scene.image("old", [200, 100], ["base"]);
    scene.clock.jump(HOUR);
    scene.image("young", [300], ["base"]);
    scene.clock.jump(HOUR);
    assert.equal(await scene.store("new", 400), undefined);
    assert.deepEqual(scene.has("old", "old.0", "old.1"), [false, false, false]);
    assert.deepEqual(scene.has("young", "young.0", "base", "new"), [true, true, true, true]);
    assert.ok(scene.inventory.bytes <= 1000);
  }));

test("each image that leaves is told: how much, what, and why", () =>
  withScene({}, async (scene) => {
    scene.image("old", [500]);
    scene.rooms.tags.put(place("docker.io", "team/app"), "1" as Tag, digest("old"), scene.clock.now());
    const storedAt = scene.clock.now();
    scene.clock.jump(HOUR);
    scene.image("young", [300]);
    scene.clock.jump(HOUR);
    await scene.store("new", 400);
    assert.deepEqual(scene.evicted, [
      {
        reason: "size",
        upstream: "docker.io",
        digest: digest("old"),
        names: ["docker.io/team/app:1"],
        blobs: 2,
        bytes: 510,
        lastUsedAt: storedAt,
        hits: 0,
      },
    ]);
    assert.deepEqual(
      scene.sweeps.map(({ durationMs: _, ...told }) => told),
      [{ reason: "size", images: 1, blobs: 2, bytes: 510 }],
    );
    assert.equal(scene.rooms.tags.find(place("docker.io", "team/app"), "1" as Tag), undefined);
  }));

test("what is used more is worth more than what was stored later", () =>
  withScene({}, async (scene) => {
    scene.image("used", [300]);
    scene.image("unused", [300]);
    scene.use("used", 3);
    scene.clock.jump(HOUR);
    scene.image("later", [300]);
    scene.clock.jump(HOUR);
    await scene.store("new", 300);
    assert.deepEqual(scene.has("used.0", "unused.0", "later.0"), [true, false, true]);
  }));

test("an image is worth what its own layers are worth, where they are used without it", () =>
  withScene({}, async (scene) => {
    scene.image("one", [300]);
    scene.clock.jump(HOUR);
    scene.image("other", [300]);
    scene.clock.jump(HOUR);
    scene.use("one.0");
    scene.clock.jump(HOUR);
    await scene.store("new", 500);
    assert.deepEqual(scene.has("one.0", "other.0"), [true, false]);
  }));

test("a layer that others used as well stays when the last image that names it leaves", () =>
  withScene({}, async (scene) => {
    scene.image("last", [300, 200]);
    scene.use("last.0", 20);
    scene.clock.jump(HOUR);
    scene.image("young", [300]);
    scene.clock.jump(HOUR);
    await scene.store("new", 300);
    assert.deepEqual(scene.has("last", "last.0", "last.1", "young"), [false, true, false, true]);
  }));

test("what is held never leaves, and nothing leaves where that is not enough", () =>
  withScene({}, async (scene) => {
    scene.image("pinned", [600]);
    scene.rooms.database.exec("UPDATE blobs SET held = 1");
    scene.image("free", [200]);
    scene.clock.jump(HOUR);
    assert.equal(await scene.store("new", 500), "cache-full");
    assert.deepEqual(scene.has("pinned", "pinned.0", "free", "free.0"), [true, true, true, true]);
    assert.equal(await scene.store("small", 300), undefined);
    assert.deepEqual(scene.has("pinned", "pinned.0", "free", "free.0"), [true, true, false, false]);
  }));

for (const [how, use] of [
  ["is being read", (scene) => scene.open.add(digest("busy.0"))],
  ["was asked for in the last seconds", (scene) => scene.usage.note(digest("busy"))],
  [
    "lacks a part that is on its way",
    (scene) => {
      scene.put("busy", 10, { children: ["busy.0", "coming"] });
      scene.filling.add(digest("coming"));
    },
  ],
] as [string, (scene: Parameters<Parameters<typeof withScene>[1]>[0]) => void][]) {
  test(`an image that ${how} stays, whatever else leaves`, () =>
    withScene({}, async (scene) => {
      scene.image("busy", [400]);
      scene.clock.jump(HOUR);
      scene.image("idle", [400]);
      scene.clock.jump(HOUR);
      use(scene);
      assert.equal(await scene.store("new", 300), undefined);
      assert.deepEqual(scene.has("busy", "busy.0", "idle"), [true, true, false]);
      scene.clock.jump(1000);
      assert.equal(await scene.store("more", 400), undefined);
      scene.clock.jump(1000);
      assert.equal(await scene.store("most", 595), "cache-full");
      assert.deepEqual(scene.has("busy", "busy.0"), [true, true]);
    }));
}

test("what was used in the last minute leaves only where nothing else will do", () =>
  withScene({}, async (scene) => {
    scene.image("often", [470]);
    scene.use("often", 10);
    scene.clock.jump(HOUR);
    scene.image("fresh", [470]);
    scene.clock.jump(MINUTE / 2);
    assert.equal(await scene.store("new", 60), undefined);
    assert.deepEqual(scene.has("often", "fresh"), [false, true]);
    scene.clock.jump(1000);
    assert.equal(await scene.store("next", 500), undefined);
    assert.deepEqual(scene.has("fresh", "next"), [false, true]);
  }));

test("a large image seen once takes nothing from what many use, and is let in when it is used as well", () =>
  withScene({}, async (scene) => {
    for (const name of ["a", "b", "c"]) {
      scene.image(name, [300]);
      scene.use(name, 4);
    }
    scene.clock.jump(HOUR);
    scene.put("huge", 10, { children: ["huge.0"] });
    assert.equal(await scene.store("huge.0", 500), "admission");
    assert.deepEqual(scene.has("a", "b", "c"), [true, true, true]);
    // It is streamed through again and again, which is noted.
    scene.use("huge.0", 10);
    assert.equal(await scene.store("huge.0", 500), undefined);
    assert.equal(scene.has("a", "b", "c").filter((stays) => stays).length, 1);
  }));

test("a large image that is pinned is let in however little it was used, and what is pinned already stays", () =>
  withScene({}, async (scene) => {
    for (const name of ["a", "b", "c"]) {
      scene.image(name, [300]);
      scene.use(name, 4);
    }
    scene.put("huge", 10, { children: ["huge.0"] });
    scene.rooms.database.prepare("UPDATE blobs SET held = 1 WHERE digest IN (?, ?)").run(digest("a"), digest("huge"));
    assert.equal(await scene.store("huge.0", 500), undefined);
    assert.deepEqual(scene.has("a", "a.0", "b", "c"), [true, true, false, false]);
  }));

test("the layers of a large image are no small newcomers, one by one, and those of a small one are", () =>
  withScene({}, async (scene) => {
    for (const name of ["a", "b", "c"]) {
      scene.image(name, [300]);
      scene.use(name, 4);
    }
    scene.clock.jump(HOUR);
    scene.put("small", 10, { children: ["small.0", "small.1"] });
    scene.announce({ "huge.0": 60, "huge.1": 900, "small.0": 50, "small.1": 10 });
    scene.put("huge", 10, { children: ["huge.0", "huge.1"] });
    assert.equal(await scene.store("huge.0", 60), "admission");
    assert.equal(await scene.store("small.0", 50), undefined);
  }));

test("what would not fit if all left is refused, and nothing leaves for it", () =>
  withScene({}, async (scene) => {
    scene.image("a", [500]);
    scene.clock.jump(HOUR);
    assert.equal(await scene.store("huge", 1001), "cache-full");
    assert.deepEqual(scene.has("a", "a.0"), [true, true]);
  }));

test("where others fill the disk, what is stored leaves until there is as much free as there must be", () =>
  withScene({ maxBytes: 10_000, minFreeBytes: 200, diskBytes: 2000 }, async (scene) => {
    for (let at = 0; at < 8; at += 1) {
      scene.image(`i${at}`, [190]);
      scene.clock.jump(HOUR);
    }
    scene.foreignBytes = 1000;
    scene.evictor.start();
    await scene.clock.advance(5000);
    await scene.settled();
    assert.deepEqual(scene.has("i0", "i3", "i4", "i7"), [false, false, true, true]);
    assert.ok(scene.evicted.every(({ reason }) => reason === "free-space"));
    scene.foreignBytes = 1990;
    await scene.clock.advance(5000);
    await scene.settled();
    assert.equal(scene.inventory.bytes, 0);
    assert.equal(await scene.store("new", 10), "disk-full");
  }));

test("behind, room is made from the high watermark down to the low one, and no further", () =>
  withScene({ high: 0.9, low: 0.5 }, async (scene) => {
    for (let at = 0; at < 8; at += 1) {
      scene.image(`i${at}`, [90]);
      scene.clock.jump(HOUR);
    }
    scene.evictor.stir();
    await scene.settled();
    assert.deepEqual(scene.evicted, []);
    await scene.store("new", 110);
    await scene.settled();
    assert.equal(scene.inventory.bytes, 410);
    assert.deepEqual(scene.has("i0", "i4", "i5", "i7", "new"), [false, false, true, true, true]);
    assert.equal(scene.sweeps.length, 1);
  }));

test("offline, nothing leaves behind, however full it is, and for what is brought in no more than that needs", () =>
  withScene({ high: 0.9, low: 0.5, isOnline: false }, async (scene) => {
    for (let at = 0; at < 10; at += 1) {
      scene.put(`b${at}`, 110);
      scene.clock.jump(HOUR);
    }
    scene.evictor.start();
    for (let round = 0; round < 3; round += 1) {
      await scene.clock.advance(5000);
      await scene.settled();
    }
    assert.equal(scene.inventory.bytes, 1100);
    assert.equal(scene.troubles.filter(({ message }) => /over its limits/.test(message)).length, 1);
    assert.equal(await scene.store("new", 50), undefined);
    await scene.settled();
    assert.deepEqual(scene.has("b0", "b1", "b2", "b9", "new"), [false, false, true, true, true]);
  }));

test("behind, what is kept of fills that ended early leaves before anything that is whole", () =>
  withScene({ high: 0.9, low: 0.5 }, async (scene) => {
    for (let at = 0; at < 4; at += 1) {
      scene.put(`b${at}`, 100);
      scene.clock.jump(HOUR);
    }
    scene.keptBytes = 550;
    scene.evictor.stir();
    await scene.settled();
    assert.deepEqual([scene.keptBytes, scene.inventory.bytes, scene.evicted.length], [0, 400, 0]);
    scene.keptBytes = 100;
    scene.put("more", 550);
    scene.evictor.stir();
    await scene.settled();
    assert.deepEqual([scene.keptBytes, scene.has("b0", "b3", "more")], [0, [false, false, true]]);
  }));

test("an upstream over its share makes room for its own at its own cost", () =>
  withScene({ shares: new Map([["ghcr.io", 300]]) }, async (scene) => {
    scene.put("other", 300);
    scene.clock.jump(HOUR);
    scene.put("own", 200, { upstream: "ghcr.io" });
    scene.clock.jump(HOUR);
    assert.equal(await scene.store("new", 200, "ghcr.io"), undefined);
    assert.deepEqual(scene.has("other", "own", "new"), [true, false, true]);
    assert.equal(scene.evicted[0]?.reason, "upstream-share");
    assert.equal(await scene.store("huge", 301, "ghcr.io"), "upstream-share");
    assert.deepEqual(scene.has("new"), [true]);
  }));

test("many at once never have more than the limit among them, and each that fits by itself is stored in the end", () =>
  withScene({}, async (scene) => {
    for (let round = 0; round < 5; round += 1) {
      scene.clock.jump(HOUR);
      const names = Array.from({ length: 12 }, (_, at) => `${round} ${at}`);
      let most = 0;
      await Promise.all(
        names.map(async (name, at) => {
          await scene.store(name, 20 + at * 15);
          most = Math.max(most, scene.capacity.state().storedBytes);
        }),
      );
      assert.ok(most <= 1000, `${most}`);
      assert.ok(scene.inventory.bytes >= 700);
    }
  }));

test("where the disk lets go of nothing, what is there counts, it is told once, and nothing more is tried for a while", () =>
  withScene({}, async (scene) => {
    for (let at = 0; at < 9; at += 1) scene.put(`b${at}`, 100);
    scene.clock.jump(HOUR);
    scene.stuck = true;
    assert.equal(await scene.store("new", 200), "cache-full");
    assert.equal(scene.inventory.bytes, 900);
    assert.equal(scene.evictor.leavingBytes, 0);
    const told = scene.troubles.filter(({ message }) => message === "nothing can be removed to make room");
    assert.equal(told.length, 1);
    scene.stuck = false;
    assert.equal(await scene.store("new", 200), "cache-full");
    scene.clock.jump(30_000);
    assert.equal(await scene.store("new", 200), undefined);
  }));

for (const [what, trigger] of [
  ["removed from", "BEFORE DELETE ON main.blobs"],
  ["corrected", "BEFORE UPDATE OF worth ON main.blobs"],
] as const) {
  test(`an index that cannot be ${what} costs a newcomer its place, nobody an answer, and no file its row`, () =>
    withScene({}, async (scene) => {
      scene.put("one", 10, { children: ["one.0"] });
      scene.image("other", [400]);
      scene.clock.jump(HOUR);
      scene.put("one.0", 400);
      scene.clock.jump(HOUR);
      const { database } = scene.rooms;
      database.exec(`CREATE TEMP TRIGGER broken ${trigger} BEGIN SELECT RAISE(ABORT, 'it is broken'); END`);
      assert.equal(await scene.store("new", 900), what === "corrected" ? "storage" : "cache-full");
      assert.equal(await scene.store("next", 900), "cache-full");
      assert.deepEqual(scene.discarded, []);
      assert.equal(scene.inventory.bytes, 820);
      assert.equal(scene.troubles.filter(({ message }) => message === "making room failed").length, 1);
      database.exec("DROP TRIGGER broken");
      scene.clock.jump(30_000);
      assert.equal(await scene.store("new", 900), undefined);
    }));
}

test("documents that name one another in a circle leave when nothing else is left", () =>
  withScene({ maxBytes: 250 }, async (scene) => {
    scene.put("b", 100);
    scene.put("a", 100, { children: ["c"], subject: "b" });
    scene.put("c", 100, { children: ["b"] });
    assert.deepEqual(scene.holdings.findVictims(10), []);
    scene.clock.jump(HOUR);
    scene.evictor.stir();
    await scene.settled();
    assert.equal(scene.inventory.bytes, 0);
  }));

test("where all is pinned and too much, it is not walked over again and again", () =>
  withScene({}, async (scene) => {
    scene.image("pinned", [2000]);
    scene.rooms.database.exec("UPDATE blobs SET held = 1 WHERE parents = 0");
    let walks = 0;
    const findNamed = scene.holdings.findNamed.bind(scene.holdings);
    scene.holdings.findNamed = (after, limit) => {
      if (after === "") walks += 1;
      return findNamed(after, limit);
    };
    scene.evictor.start();
    for (let round = 0; round < 20; round += 1) {
      await scene.clock.advance(5000);
      await scene.settled();
    }
    assert.equal(walks, 1);
    assert.deepEqual(scene.has("pinned", "pinned.0"), [true, true]);
  }));

test("very many leave in slices, between which others have their turn", () =>
  withScene({ maxBytes: 3000, high: 0.9, low: 0.1 }, async (scene) => {
    const blobs = Array.from({ length: 2695 }, (_, at) => ({
      ...{ digest: digest(`b${at}`), sizeBytes: 1, upstream: "docker.io", storedAt: scene.clock.now() },
    }));
    scene.inventory.addBlobs(blobs);
    scene.clock.jump(HOUR);
    let turns = 0;
    let over = false;
    scene.notices.on("evictionEnded", () => {
      over = true;
    });
    await scene.store("one", 10);
    for (; !over; turns += 1) await new Promise((resolve) => setImmediate(resolve));
    assert.ok(turns > 10, `${turns}`);
    assert.equal(scene.inventory.bytes, 300);
  }));
