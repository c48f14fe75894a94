/** What a front has open is told once a second, where it has changed. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { RemoteReaders } from "../../src/workers/remote-readers.ts";
import { ManualClock } from "../kit/clock.ts";
import { digest } from "../meta/rooms.ts";

test("what is open is told after a second, its end too, and without either there is no post and no timer", async () => {
  const clock = new ManualClock();
  const posts: unknown[] = [];
  let open = [digest("a"), digest("b"), digest("a")];
  const readers = new RemoteReaders({ post: (what, value) => void posts.push([what, value]) }, clock, () => open);
  readers.stir();
  readers.stir();
  assert.deepEqual([posts, clock.pending], [[], 1]);
  await clock.advance(1000);
  assert.deepEqual(posts, [["reading", { began: [digest("a"), digest("b")], ended: [] }]]);
  await clock.advance(3000);
  assert.equal(posts.length, 1);
  open = [digest("b"), digest("c")];
  await clock.advance(1000);
  assert.deepEqual(posts[1], ["reading", { began: [digest("c")], ended: [digest("a")] }]);
  open = [];
  await clock.advance(1000);
  assert.deepEqual(posts[2], ["reading", { began: [], ended: [digest("b"), digest("c")] }]);
  assert.equal(clock.pending, 0);
  readers.stir();
  readers.stop();
  assert.equal(clock.pending, 0);
});
