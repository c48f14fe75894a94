/** An image that leaves in slices, while others come to need parts of it. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Removal } from "../../src/api/removal.ts";
import { Holdings } from "../../src/meta/holdings.ts";
import { Images } from "../../src/meta/images.ts";
import { Leaving } from "../../src/meta/leaving.ts";
import { Pins } from "../../src/meta/pins.ts";
import type { Digest } from "../../src/oci/digest.ts";
import { OCI_MANIFEST } from "../../src/oci/mediatypes.ts";
import { parseTag } from "../../src/oci/reference.ts";
import { digest, place, type Rooms, withRooms } from "../meta/rooms.ts";

const AT = Date.UTC(2026, 0, 1);
const HERE = place("docker.io", "team/here");
const THERE = place("docker.io", "team/there");
const LAYERS = Array.from({ length: 100 }, (_, at) => `layer ${at}`);

const PARTIAL = { place: HERE, file: "f", sizeBytes: 9, prefixBytes: 5, notedAt: AT };

/** One image of a hundred layers, and what takes it out. */
function scene(rooms: Rooms) {
  const { database, inventory, graph, tags, repositories } = rooms;
  const put = (name: string, children?: readonly string[]) => {
    inventory.addBlob(digest(name), 10, "docker.io", AT);
    const naming = { children: (children ?? []).map(digest), subject: undefined };
    if (children !== undefined) inventory.addManifest(digest(name), OCI_MANIFEST, naming);
  };
  for (const layer of LAYERS) put(layer);
  put("image", LAYERS);
  const entries = ["image", ...LAYERS].map((name) => ({ digest: digest(name), sizeBytes: 10, confirmed: false }));
  graph.link(HERE, entries);
  tags.put(HERE, parseTag("1"), digest("image"), AT);
  const filling = new Set<Digest>();
  const files: Digest[] = [];
  const unfinished = new Set<Digest>();
  const images = new Images(database);
  const forget = () => {};
  const removal = new Removal({
    ...{ images, tags, leaving: new Leaving(database), holdings: new Holdings(database, rooms) },
    ...{ shelf: { forget }, absences: { forget }, sightings: { forget }, troubles: { forget } },
    store: {
      discard: async (one) => {
        files.push(one);
      },
    },
    keeping: {
      list: () => [...unfinished].map((one) => ({ ...PARTIAL, digest: one })),
      remove: async (one) => unfinished.delete(one),
    },
    fills: { find: (one) => (filling.has(one) ? ({} as never) : undefined) },
  });
  const repository = images.findRepository(HERE);
  assert.ok(repository !== undefined);
  const row = images.find(repository, digest("image"));
  assert.ok(row !== undefined);
  const isStored = (name: string) => inventory.findSize(digest(name)) !== undefined;
  return {
    put,
    removal,
    row,
    files,
    filling,
    unfinished,
    isStored,
    graph,
    tags,
    pins: new Pins(database, repositories),
  };
}

test("what comes to be named, pinned, tagged or fetched while an image leaves stays, and is not said to be gone", () =>
  withRooms(async (rooms) => {
    const { put, removal, row, files, filling, isStored, graph, tags, pins } = scene(rooms);
    const plan = removal.plan(row);
    assert.equal(plan.digests.length, 101);
    // The last ones, so that all of it happens before their turn.
    const late = plan.digests.slice(-4).map((one) => LAYERS.find((name) => digest(name) === one) ?? "");
    const [named = "", pinned = "", tagged = "", fetched = ""] = late;
    let rounds = 0;
    const freed = await removal.carryOut(row, plan, async () => {
      rounds += 1;
      if (rounds > 1) return;
      put("other image", [named]);
      tags.put(THERE, parseTag("2"), digest("other image"), AT);
      graph.link(THERE, [{ digest: digest(pinned), sizeBytes: 10, confirmed: true }]);
      pins.put(THERE, digest(pinned), [], AT);
      tags.put(THERE, parseTag("3"), digest(tagged), AT);
      filling.add(digest(fetched));
    });
    assert.deepEqual(late.map(isStored), [true, true, true, true]);
    assert.deepEqual([freed, files.length], [{ blobs: 97, bytes: 970 }, 97]);
    assert.ok(late.every((name) => !files.includes(digest(name))));
    assert.equal(LAYERS.filter(isStored).length, 4, "and nothing else");
  }));

test("what there is of layers that were not fetched whole goes too, but for those that another image needs", () =>
  withRooms(async (rooms) => {
    const { put, removal, row, unfinished } = scene(rooms);
    const [own, shared] = LAYERS;
    assert.ok(own !== undefined && shared !== undefined);
    for (const layer of [own, shared]) rooms.inventory.dropBlob(digest(layer));
    put("other image", [shared]);
    for (const name of [own, shared, "of no image"]) unfinished.add(digest(name));
    await removal.carryOut(row, removal.plan(row), async () => {});
    assert.deepEqual([...unfinished], [shared, "of no image"].map(digest));
  }));
