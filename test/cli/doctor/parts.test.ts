/** The pure parts of the doctor: TOML, and what is thought of a disk. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { judgeDisk } from "../../../src/cli/doctor/disk.ts";
import { readToml } from "../../../src/cli/doctor/toml.ts";
import { entriesOf, itemsOf, valueAt } from "../../../src/cli/doctor/tree.ts";

test("what is no TOML is told with its line, and a byte order mark is none of it", () => {
  assert.equal(valueAt(readToml("\uFEFFa = 1\n").value, "a"), 1);
  assert.match(readToml('server = "x"\n\nkey =\n').fault ?? "", /^:3 is no TOML: [^\n]+$/);
  assert.match(readToml("a = 1\na = 2\n").fault ?? "", /^:2 is no TOML/);
  assert.match(readToml(`a = ${"[".repeat(1000)}`).fault ?? "", /is no TOML/);
});

test("whatever the text is, reading TOML ends and never throws", () => {
  const piece = fc.constantFrom("[", "]", "[[", '"', "'", "\\", "=", ".", "#", "\n", "a", "host", " ", "true", "1");
  fc.assert(
    fc.property(
      fc.oneof(
        fc.string(),
        fc.array(piece, { maxLength: 60 }).map((all) => all.join("")),
      ),
      (text) => {
        const { value, fault } = readToml(text);
        assert.equal(value === undefined, fault !== undefined);
      },
    ),
  );
});

test("a way through what is no table, or has no such key, leads nowhere", () => {
  const value = { a: { b: ["x"], "": 1 }, toString: 2 };
  assert.deepEqual(valueAt(value, "a", "b"), ["x"]);
  for (const keys of [["b"], ["a", "c"], ["a", "b", "0"], ["a", "constructor"]]) {
    assert.equal(valueAt(value, ...keys), undefined);
  }
  assert.deepEqual([itemsOf("x"), entriesOf(["x"]), entriesOf(null)], [[], [], []]);
});

const GIB = 1024 ** 3;
const roomy = { type: 0xef53, totalBytes: 100 * GIB, freeBytes: 50 * GIB };
const cache = { dir: "/cache", maxSize: 10 * GIB, minFree: GIB };

test("a local disk with room is good; a full, a small and an unfit one are told", () => {
  const states = (given: object, disk: object) =>
    judgeDisk({ ...cache, ...given }, { ...roomy, ...disk }).map(({ state }) => state);
  assert.deepEqual(states({}, {}), ["ok"]);
  assert.deepEqual(states({ maxSize: { percent: 80 } }, {}), ["ok"]);
  assert.deepEqual(states({}, { freeBytes: GIB / 2 }), ["fail"]);
  assert.deepEqual(states({ maxSize: 200 * GIB }, {}), ["warn"]);
  for (const type of [0x01021994, 0x794c7630, 0x6969]) assert.deepEqual(states({}, { type }), ["warn"]);
  assert.deepEqual(states({}, { type: 0x6969, freeBytes: 0 }), ["warn", "fail"]);
});
