/** Facts reach exactly those who asked for them. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Notices } from "../../src/base/notices.ts";

interface Kinds {
  counted: number;
  named: { readonly name: string };
}

test("an observer is told each fact of its kind, in order, and no other", () => {
  const notices = new Notices<Kinds>();
  const seen: number[] = [];
  notices.on("counted", (n) => seen.push(n));
  notices.emit("counted", 1);
  notices.emit("named", { name: "other" });
  notices.emit("counted", 2);
  assert.deepEqual(seen, [1, 2]);
});

test("an emission that nobody observes is no error", () => {
  new Notices<Kinds>().emit("counted", 1);
});

test("observers are told in the order in which they came", () => {
  const notices = new Notices<Kinds>();
  const seen: string[] = [];
  notices.on("counted", () => seen.push("first"));
  notices.on("counted", () => seen.push("second"));
  notices.emit("counted", 1);
  assert.deepEqual(seen, ["first", "second"]);
});

test("an observer that has left is told nothing more, and leaving twice takes nobody else away", () => {
  const notices = new Notices<Kinds>();
  const seen: string[] = [];
  const leave = notices.on("counted", () => seen.push("leaving"));
  notices.on("counted", () => seen.push("staying"));
  leave();
  leave();
  notices.emit("counted", 1);
  assert.deepEqual(seen, ["staying"]);
});

test("an observer that leaves while it is told does not keep the next one from being told", () => {
  const notices = new Notices<Kinds>();
  const seen: string[] = [];
  const leave = notices.on("counted", () => {
    seen.push("once");
    leave();
  });
  notices.on("counted", () => seen.push("always"));
  notices.emit("counted", 1);
  notices.emit("counted", 2);
  assert.deepEqual(seen, ["once", "always", "always"]);
});
