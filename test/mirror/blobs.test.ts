/** What the front makes of a blob in the moments around the end of its fill. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Failure } from "../../src/base/failure.ts";
import { type BlobAnswer, Blobs } from "../../src/mirror/blobs.ts";
import type { Origin } from "../../src/mirror/origin.ts";
import { makeRoute } from "../../src/mirror/route.ts";
import type { Slice } from "../../src/mirror/slice.ts";
import { digestOf } from "../../src/oci/digest.ts";
import { parseRepository } from "../../src/oci/reference.ts";
import { MemoryStore } from "../contracts/memory-store.ts";
import { pourInto } from "../contracts/writing.ts";
import { ManualClock } from "../kit/clock.ts";
import { BufferContent } from "../kit/content.ts";
import { withRooms } from "../meta/rooms.ts";
import { POLICY, recorded, routeOf } from "./parts.ts";
import { ScriptedUpstream } from "./scripted-upstream.ts";

const bytes = Buffer.from("a blob that has its name, and is not counted yet");
const digest = digestOf(bytes);

function unasked(): never {
  throw new Error("nobody asks the origin side for this");
}

const ORIGIN: Origin = {
  findSighting: unasked,
  findAbsence: unasked,
  findTrouble: unasked,
  sightTag: unasked,
  refreshTag: unasked,
  fetchManifest: unasked,
  confirmBlob: unasked,
  fillBlob: unasked,
  findFill: unasked,
};

test("a blob that is named and not counted yet is its fill's: no upstream is asked, and where it is from is kept", () =>
  withRooms(async ({ graph, inventory }) => {
    const store = new MemoryStore();
    const ingest = await store.ingest(digest);
    ingest.declareSize(bytes.length);
    await pourInto(ingest.lane(0), bytes);
    await (await ingest.finish()).stored;
    ingest.close();

    const route = routeOf("docker.io", "library/filling");
    // Only a manifest gives it to this one.
    const other = routeOf("docker.io", "library/other");
    graph.link(other, [{ digest, sizeBytes: bytes.length, confirmed: false }]);
    let filling: typeof route | undefined = route;
    const origin: Origin = { ...ORIGIN, findFill: () => filling };
    const blobs = new Blobs({
      notices: recorded("storageTrouble").notices,
      store,
      inventory,
      graph,
      origin,
      capacity: { findRefusal: unasked },
      passes: { take: unasked, admit: async () => undefined },
      clock: new ManualClock(),
      usage: { note: unasked },
    });
    const verdictIn = async () => {
      const answer = await blobs.head(other, digest, { signal: new AbortController().signal });
      return "verdict" in answer ? answer.verdict : answer;
    };
    assert.deepEqual(await verdictIn(), { cache: "hit" });
    assert.deepEqual(await verdictIn(), { cache: "hit" });
    inventory.addBlob(digest, bytes.length, "docker.io", 1);
    filling = undefined;
    assert.deepEqual(await verdictIn(), { cache: "hit" });
    assert.equal(inventory.blobs, 1);
    store.clear();
  }));

/** Blobs over a store that has this one, in a repository that may read it. */
async function withStored(
  work: (scene: {
    blobs: Blobs;
    store: MemoryStore;
    noted: string[];
    answer(slice?: Slice): Promise<BlobAnswer>;
    stored(): boolean;
    troubles: readonly { readonly message: string; readonly cause: unknown }[];
    sabotage: { open?: Error; remove?: Error };
  }) => Promise<void>,
): Promise<void> {
  await withRooms(async ({ graph, inventory }) => {
    const store = new MemoryStore();
    const ingest = await store.ingest(digest);
    ingest.declareSize(bytes.length);
    await pourInto(ingest.lane(0), bytes);
    await (await ingest.finish()).stored;
    ingest.close();
    const clock = new ManualClock();
    const upstream = new ScriptedUpstream(new BufferContent(bytes), clock);
    const source = { name: "docker.io", upstream, freshness: POLICY, maxPasses: 1, segments: 1 };
    const route = makeRoute(source, parseRepository("library/demo"));
    graph.link(route, [{ digest, sizeBytes: bytes.length, confirmed: true }]);
    inventory.addBlob(digest, bytes.length, "docker.io", 1);
    const noted: string[] = [];
    const sabotage: { open?: Error; remove?: Error } = {};
    const { notices, facts: troubles } = recorded("storageTrouble");
    const blobs = new Blobs({
      store: {
        has: (wanted) => store.has(wanted),
        async open(wanted) {
          if (sabotage.open !== undefined) throw sabotage.open;
          return await store.open(wanted);
        },
        async remove(wanted) {
          if (sabotage.remove !== undefined) throw sabotage.remove;
          await store.remove(wanted);
        },
      },
      origin: { ...ORIGIN, findFill: () => undefined, findAbsence: () => undefined },
      capacity: { findRefusal: unasked },
      passes: { take: async () => undefined, admit: async () => undefined },
      usage: { note: (used) => noted.push(used) },
      ...{ notices, inventory, graph, clock },
    });
    const answer = async (slice?: Slice) => {
      const { signal } = new AbortController();
      const got = await blobs.answer(route, digest, () => slice, { signal });
      if ("absence" in got) return assert.fail("absent");
      return got;
    };
    const stored = () => store.has(digest) && inventory.findSize(digest) !== undefined;
    await work({ blobs, store, noted, answer, stored, troubles, sabotage });
    store.clear();
  });
}

test("a use is noted for what is read from its beginning, once, and not for what is gone on with", () =>
  withStored(async ({ answer, noted }) => {
    for (const slice of [undefined, { start: 0, end: 9 }, { start: 10, end: 19 }, { start: 20, end: 29 }]) {
      (await answer(slice)).follower?.close();
    }
    assert.deepEqual(noted, [digest, digest]);
  }));

test("a blob whose file cannot be read leaves the store, so that it is fetched again; its reader goes on", () =>
  withStored(async ({ answer, stored, troubles }) => {
    const { follower, rescue } = await answer();
    const damage = new Failure("storage", "the stored blob cannot be read: EIO: i/o error, read");
    const rest = rescue?.({ follower, position: 20, end: bytes.length - 1 }, damage) ?? assert.fail("no rescue");
    for (let turn = 0; turn < 50 && stored(); turn += 1) await new Promise((resolve) => setImmediate(resolve));
    assert.equal(stored(), false);
    assert.equal(troubles[0]?.cause, damage);
    rest.destroy();
  }));

test("a blob whose fill has died of the disk has nothing that could leave the store", () =>
  withStored(async ({ answer, stored, troubles }) => {
    const { follower, rescue } = await answer();
    rescue?.({ follower, position: 20, end: bytes.length - 1 }, undefined).destroy();
    await new Promise((resolve) => setImmediate(resolve));
    assert.equal(stored(), true);
    assert.deepEqual(troubles, []);
  }));

for (const errno of ["EMFILE", "ENFILE", "EACCES", "EIO"]) {
  test(`a stored blob that cannot be opened (${errno}) comes from the upstream, and stays stored`, () =>
    withStored(async ({ answer, stored, sabotage, troubles }) => {
      sabotage.open = new Failure("storage", `cannot open a stored blob: ${errno}: it went wrong, open`);
      const { verdict, passed } = await answer();
      assert.deepEqual(verdict, { cache: "bypass", why: "storage" });
      passed?.destroy();
      assert.equal(stored(), true);
      assert.equal(troubles[0]?.cause, sabotage.open);
    }));
}

test("a file of the wrong size that cannot be removed is not served, and its row stays to say so", () =>
  withStored(async ({ answer, sabotage, store }) => {
    sabotage.remove = new Failure("storage", "cannot remove a stored blob: EROFS: read-only file system, unlink");
    const open = store.open.bind(store);
    store.open = async (wanted) => {
      const follower = await open(wanted);
      if (follower !== undefined) Object.defineProperty(follower, "sizeBytes", { value: 3 });
      return follower;
    };
    for (let round = 0; round < 2; round += 1) {
      const { verdict, passed } = await answer();
      assert.deepEqual(verdict, { cache: "bypass", why: "storage" });
      passed?.destroy();
    }
  }));
