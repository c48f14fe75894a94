/** Uses that a front notes are told in one post a second, and all of them before its end. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { RemoteUses } from "../../src/workers/remote-uses.ts";
import { ManualClock } from "../kit/clock.ts";
import { digest } from "../meta/rooms.ts";

function scene() {
  const clock = new ManualClock();
  const posts: unknown[] = [];
  const uses = new RemoteUses({ post: (what, value) => void posts.push([what, value]) }, clock);
  return { clock, posts, uses };
}

test("uses of a second are one post, and where there are none there is no post and no timer", async () => {
  const { clock, posts, uses } = scene();
  assert.equal(clock.pending, 0);
  for (const name of ["a", "b", "a"]) uses.note(digest(name));
  uses.note(digest("b"), 3);
  assert.deepEqual(posts, []);
  await clock.advance(1000);
  assert.deepEqual(posts, [
    [
      "uses",
      [
        [digest("a"), 2],
        [digest("b"), 4],
      ],
    ],
  ]);
  assert.equal(clock.pending, 0);
  uses.note(digest("a"));
  await clock.advance(1000);
  assert.deepEqual(posts[1], ["uses", [[digest("a"), 1]]]);
});

test("what was noted is told before the end, and its timer is gone", () => {
  const { clock, posts, uses } = scene();
  uses.note(digest("a"));
  uses.stop();
  uses.stop();
  assert.deepEqual(posts, [["uses", [[digest("a"), 1]]]]);
  assert.equal(clock.pending, 0);
});

test("very many are told at once instead of being held", () => {
  const { posts, uses } = scene();
  for (let at = 0; at < 10_000; at += 1) uses.note(digest(String(at)));
  assert.equal(posts.length, 1);
});
