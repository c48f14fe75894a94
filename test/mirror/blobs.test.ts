/** What the front makes of a blob in the moments around the end of its fill. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Blobs } from "../../src/mirror/blobs.ts";
import type { Origin } from "../../src/mirror/origin.ts";
import { digestOf } from "../../src/oci/digest.ts";
import { MemoryStore } from "../contracts/memory-store.ts";
import { pourInto } from "../contracts/writing.ts";
import { ManualClock } from "../kit/clock.ts";
import { withRooms } from "../meta/rooms.ts";
import { recorded, routeOf } from "./parts.ts";

const bytes = Buffer.from("a blob that has its name, and is not counted yet");
const digest = digestOf(bytes);

function unasked(): never {
  throw new Error("nobody asks the origin side for this");
}

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
    const origin: Origin = {
      findSighting: unasked,
      findAbsence: unasked,
      findTrouble: unasked,
      sightTag: unasked,
      refreshTag: unasked,
      fetchManifest: unasked,
      confirmBlob: unasked,
      fillBlob: unasked,
      findFill: () => filling,
    };
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
