/** What a front does itself of what it would ask the origin side for. */
import assert from "node:assert/strict";
import test from "node:test";
import { Channel } from "../../src/workers/channel.ts";
import type { DoorAsks, DoorPosts } from "../../src/workers/messages.ts";
import { passesThrough } from "../../src/workers/reading.ts";
import { routeOf } from "../mirror/parts.ts";

/** A front with connections for one pass (see `routeOf`), and an origin side that answers as it is told. */
function front(grants: (number | undefined)[]) {
  const sent: object[] = [];
  const door: Channel<DoorAsks, DoorPosts> = new Channel({
    send: (message) => {
      sent.push(message);
      if ("id" in message) door.receive({ id: message.id, value: grants.shift() }, { answer: {}, take: {} });
    },
  });
  return { passes: passesThrough(door), sent };
}

test("a front lets no more ranges pass than it has connections for, whatever the origin side would grant", async () => {
  const { passes, sent } = front([1, 2]);
  const route = routeOf();
  const end = await passes.take(route);
  assert.ok(end !== undefined);
  assert.equal(await passes.take(route), undefined);
  assert.equal(sent.length, 1);
  end();
  end();
  const next = await passes.take(route);
  assert.ok(next !== undefined);
  assert.equal(await passes.take(route), undefined);
});

test("a pass that the origin side refuses takes nothing from the front", async () => {
  const { passes } = front([undefined, 1]);
  const route = routeOf();
  assert.equal(await passes.take(route), undefined);
  assert.ok((await passes.take(route)) !== undefined);
});
