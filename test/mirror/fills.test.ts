/** What a running fill makes of what happens around it. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Failure } from "../../src/base/failure.ts";
import { Capacity } from "../../src/mirror/capacity.ts";
import { DiskHealth } from "../../src/mirror/diskhealth.ts";
import { Fills } from "../../src/mirror/fills.ts";
import { makeRoute } from "../../src/mirror/route.ts";
import type { Digest } from "../../src/oci/digest.ts";
import { parseRepository } from "../../src/oci/reference.ts";
import type { Ingest } from "../../src/store/blobstore.ts";
import { MemoryStore } from "../contracts/memory-store.ts";
import { ManualClock } from "../kit/clock.ts";
import { VirtualContent } from "../kit/content.ts";
import { withRooms } from "../meta/rooms.ts";
import { POLICY, recorded } from "./parts.ts";
import { ScriptedUpstream } from "./scripted-upstream.ts";

const content = new VirtualContent(4 * 1024 * 1024, 23);

/** Tells which ingests it has begun. */
class WatchedStore extends MemoryStore {
  readonly begun: Ingest[] = [];

  override async ingest(digest: Digest): Promise<Ingest> {
    const ingest = await super.ingest(digest);
    this.begun.push(ingest);
    return ingest;
  }
}

test("a disk that fails while the upstream is silent ends the fill at once: nobody new joins it, nothing is left", () =>
  withRooms(async ({ graph, inventory }) => {
    const store = new WatchedStore();
    const clock = new ManualClock();
    const { notices, facts: ends } = recorded("fillEnded");
    const limits = { maxBytes: undefined, minFreeBytes: 0 };
    const health = new DiskHealth({ clock, notices, probe: async () => {} });
    const capacity = new Capacity({ store, inventory, limits, health, clock, notices });
    const fills = new Fills({ store, inventory, graph, capacity, clock, notices });
    const upstream = new ScriptedUpstream(content, clock);
    const source = { name: "docker.io", upstream, freshness: POLICY, maxPasses: 1, segments: 1 };
    const route = makeRoute(source, parseRepository("library/demo"));
    const ticket = fills.join(route, content.digest, content.sizeBytes);
    assert.equal(await ticket.ready, undefined);
    const follower = ticket.follow();
    upstream.requests[0]?.send(1_000_000);

    const failure = new Failure("storage", "the disk is full");
    void store.begun[0]?.fail(failure);
    assert.equal(fills.find(content.digest), undefined);
    for (let turn = 0; turn < 100 && ends.length === 0; turn += 1) await new Promise((then) => setImmediate(then));
    assert.equal(ends[0]?.failure, failure);
    assert.deepEqual([upstream.requests.length, upstream.running.length], [1, 0]);
    assert.equal(await capacity.findRefusal(1), "storage");
    assert.equal(follower.failure(), failure);
    follower.close();
    await health.stop();
    assert.deepEqual([store.unended, clock.pending], [0, 0]);
    await fills.stop();
  }));

test("what a fill has stored is held as long as somebody reads the file that it wrote", () =>
  withRooms(async ({ graph, inventory }) => {
    const store = new MemoryStore();
    const clock = new ManualClock();
    const { notices, facts: ends } = recorded("fillEnded");
    const limits = { maxBytes: undefined, minFreeBytes: 0 };
    const capacity = new Capacity({ store, inventory, limits, clock, notices });
    const fills = new Fills({ store, inventory, graph, capacity, clock, notices });
    const upstream = new ScriptedUpstream(content, clock);
    const source = { name: "docker.io", upstream, freshness: POLICY, maxPasses: 1, segments: 1 };
    const ticket = fills.join(makeRoute(source, parseRepository("library/demo")), content.digest, content.sizeBytes);
    assert.equal(await ticket.ready, undefined);
    const follower = ticket.follow();
    upstream.requests[0]?.send();
    for (let turn = 0; turn < 1000 && ends.length === 0; turn += 1) await new Promise((then) => setImmediate(then));
    assert.deepEqual([ends[0]?.failure, fills.find(content.digest)], [undefined, undefined]);
    assert.equal(fills.isHeld(content.digest), true);
    follower.close();
    assert.equal(fills.isHeld(content.digest), false);
    await fills.stop();
  }));
