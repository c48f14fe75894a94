/** Fills that end early, and the next ones of the same blob, which go on with what was kept. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Failure } from "../../src/base/failure.ts";
import { Partials } from "../../src/meta/partials.ts";
import { Capacity } from "../../src/mirror/capacity.ts";
import { FIRST_PIECE_BYTES } from "../../src/mirror/fillpolicy.ts";
import { Fills } from "../../src/mirror/fills.ts";
import { Keeping } from "../../src/mirror/keeping.ts";
import { makeRoute } from "../../src/mirror/route.ts";
import type { Ticket } from "../../src/mirror/ticket.ts";
import { parseRepository } from "../../src/oci/reference.ts";
import { MemoryStore } from "../contracts/memory-store.ts";
import { readToEnd } from "../contracts/reading.ts";
import { ManualClock } from "../kit/clock.ts";
import { VirtualContent } from "../kit/content.ts";
import { withRooms } from "../meta/rooms.ts";
import { POLICY, recorded } from "./parts.ts";
import { ScriptedUpstream } from "./scripted-upstream.ts";

const MIB = 1024 * 1024;
const small = new VirtualContent(4 * MIB, 29);
const large = new VirtualContent(96 * MIB, 31);

type Scene = ReturnType<typeof makeScene>;

async function withScene(work: (scene: Scene) => Promise<void>, content = small): Promise<void> {
  await withRooms(async (rooms) => {
    const scene = makeScene(rooms, content);
    try {
      await work(scene);
    } finally {
      await scene.fills.stop();
      scene.store.clear();
    }
    assert.deepEqual([scene.store.unended, scene.clock.pending], [0, 0]);
  });
}

function makeScene(
  { database, repositories, graph, inventory }: Parameters<Parameters<typeof withRooms>[0]>[0],
  content: VirtualContent,
) {
  const store = new MemoryStore();
  const clock = new ManualClock();
  const { notices, facts: mismatches } = recorded("digestMismatch");
  const takenUp: number[] = [];
  const brought: number[] = [];
  notices.on("fillTakenUp", ({ atByte }) => takenUp.push(atByte));
  notices.on("fillEnded", ({ bytes }) => brought.push(bytes));
  const limits: { maxBytes: number | undefined; minFreeBytes: number } = { maxBytes: undefined, minFreeBytes: 0 };
  const keeping = new Keeping({
    partials: new Partials(database, repositories, "boot"),
    store,
    maxBytes: undefined,
    clock,
    notices,
  });
  const capacity = new Capacity({ store, inventory, limits, clock, notices });
  const fills = new Fills({ store, inventory, graph, capacity, keeping, clock, notices });
  const upstream = new ScriptedUpstream(content, clock);
  const source = { name: "docker.io", upstream, freshness: POLICY, maxPasses: 4, segments: 4 };
  const route = makeRoute(source, parseRepository("library/demo"));
  const until = async (holds: () => boolean) => {
    const deadline = performance.now() + 10_000;
    while (!holds()) {
      if (performance.now() > deadline) throw new Error("it did not come to that");
      await new Promise((resolve) => setImmediate(resolve));
    }
  };
  const join = () => fills.join(route, content.digest, content.sizeBytes);
  return {
    ...{ store, clock, fills, keeping, upstream, limits, mismatches, takenUp, brought, until, join },
    last: () => upstream.requests.at(-1) ?? assert.fail("nobody asked"),
    /** A fill that has received so much, and whose upstream then says no more. Its end is begun, and not waited for. */
    async cutAt(bytes: number): Promise<Ticket> {
      const ticket = join();
      await until(() => upstream.requests.length === 1);
      upstream.requests[0]?.send(bytes);
      await until(() => ticket.progress().visibleBytes >= bytes - 64 * 1024 && ticket.progress().visibleBytes > 0);
      upstream.requests[0]?.break(new Failure("denied", "no more of it"));
      await until(() => fills.find(content.digest) === undefined);
      ticket.release();
      return ticket;
    },
    /** Everything that is asked for comes. */
    async complete(ticket: Ticket): Promise<void> {
      assert.equal(await ticket.ready, undefined);
      const follower = ticket.follow();
      const reading = readToEnd(follower);
      await until(() => {
        for (const request of upstream.running) request.send();
        return follower.visible() === content.sizeBytes;
      });
      assert.equal((await reading).length, content.sizeBytes);
      follower.close();
      await until(() => store.has(content.digest) && fills.find(content.digest) === undefined);
    },
  };
}

test("the next fill waits for the end of the one before, and asks for the rest", () =>
  withScene(async ({ cutAt, join, complete, last, until, upstream, takenUp, brought, keeping }) => {
    await cutAt(2 * MIB);
    const ticket = join();
    await until(() => upstream.requests.length === 2);
    assert.deepEqual(last().range, { start: 2 * MIB });
    await complete(ticket);
    assert.deepEqual([takenUp, brought], [[2 * MIB], [2 * MIB, 2 * MIB]]);
    assert.deepEqual(keeping.list(), []);
  }));

test("the rest of a large blob is asked for in pieces from where it was", () =>
  withScene(async ({ cutAt, join, last, until, upstream, fills, clock }) => {
    // It is far away.
    upstream.answering = () => {
      clock.jump(40);
      return undefined;
    };
    await cutAt(3 * MIB);
    join().release();
    await until(() => upstream.requests.length === 2);
    assert.deepEqual(last().range, { start: 3 * MIB, end: 3 * MIB + FIRST_PIECE_BYTES - 1 });
    await fills.stop();
  }, large));

for (const [what, answering] of [
  ["all of it", () => "ignore the range" as const],
  ["no such range", () => new Failure("corrupt", "no such range", { upstreamStatus: 416 })],
] as const) {
  test(`an upstream that answers ${what} is asked for all, and nothing of before is believed`, () =>
    withScene(async ({ cutAt, join, complete, upstream, takenUp, keeping, store }) => {
      await cutAt(2 * MIB);
      upstream.answering = (_, number) => (number === 2 ? answering() : undefined);
      await complete(join());
      assert.deepEqual([takenUp, keeping.list(), await store.partials()], [[], [], []]);
      const whole = upstream.requests.filter(({ start, sentBytes }) => start === 0 && sentBytes === small.sizeBytes);
      assert.equal(whole.length, 1);
    }));
}

test("a blob that is of another size now is fetched anew", () =>
  withScene(async ({ cutAt, join, complete, upstream, takenUp, keeping }) => {
    await cutAt(2 * MIB);
    upstream.saysSize = (number) => (number === 2 ? small.sizeBytes + 1 : small.sizeBytes);
    await complete(join());
    assert.deepEqual([takenUp, keeping.list(), upstream.requests.at(-1)?.range], [[], [], undefined]);
  }));

test("an upstream that is away, has it no more, or a store without room leave what is kept as it is", () =>
  withScene(async ({ cutAt, join, complete, upstream, keeping, limits, until, fills, clock }) => {
    await cutAt(2 * MIB);
    const isKept = async () => {
      await until(() => keeping.bytes === 2 * MIB && fills.find(small.digest) === undefined);
    };
    upstream.answering = () => new Failure("unreachable", "away");
    await assert.rejects(join().ready);
    await isKept();
    upstream.answering = () => ({ absent: "unknown" });
    assert.deepEqual(await join().ready, { absent: "unknown" });
    await isKept();
    upstream.answering = () => undefined;
    limits.maxBytes = 1;
    await assert.rejects(join().ready, /no room/);
    await isKept();
    limits.maxBytes = undefined;
    await clock.advance(5000);
    await complete(join());
    assert.equal(keeping.bytes, 0);
  }));

test("what an upstream sends wrong is not kept, and it is told of", () =>
  withScene(async ({ join, upstream, until, keeping, mismatches, fills, store }) => {
    const ticket = join();
    await until(() => upstream.requests.length === 1);
    upstream.requests[0]?.send(2 * MIB);
    await until(() => ticket.progress().visibleBytes > MIB);
    upstream.requests[0]?.break(new Failure("corrupt", "broken coding"));
    await until(() => fills.find(small.digest) === undefined && store.unended === 0);
    ticket.release();
    assert.deepEqual([keeping.list(), await store.partials(), mismatches], [[], [], []]);
  }));
