/** More than a few pages in another order than that of names: made here, as the mirror makes it. */
import assert from "node:assert/strict";
import test from "node:test";
import type { ImageAnswer } from "../../src/api/images.ts";
import { gridText } from "../../src/cli/grid.ts";
import { Foremost } from "../../src/cli/ls-order.ts";

const AT = Date.UTC(2026, 0, 1);

function image(at: number): ImageAnswer {
  const time = new Date(AT + (at % 7) * 1000).toISOString();
  return {
    ...{ upstream: "docker.io", repository: `org/app${at}`, tags: at % 3 === 0 ? [] : ["1"], digest: `sha256:${at}` },
    ...{ mediaType: "m", platforms: [], sizeBytes: at % 5, uniqueBytes: 0, sharedBytes: 0, hits: at % 4 },
    ...{ storedAt: time, checkedAt: null, lastUsedAt: time, pinned: false },
  };
}

const ALL = Array.from({ length: 60 }, (_, at) => image(at));

function first(sort: string, reverse: boolean, limit: number) {
  const foremost = new Foremost({ sort, reverse, limit });
  for (let at = 0; at < ALL.length; at += 7) foremost.add(ALL.slice(at, at + 7));
  const { images, more } = foremost.end();
  return { names: images.map(({ repository }) => repository), more };
}

test("every order is whole, its reverse is its reverse, and its beginning is its beginning", () => {
  for (const sort of ["name", "size", "age", "used", "hits"]) {
    const all = first(sort, false, 1000);
    assert.deepEqual([new Set(all.names).size, all.more], [60, false]);
    assert.deepEqual(first(sort, true, 1000).names, all.names.toReversed());
    assert.deepEqual(first(sort, false, 10), { names: all.names.slice(0, 10), more: true });
  }
  assert.deepEqual(first("name", false, 3).names, ["org/app0", "org/app1", "org/app10"]);
  assert.deepEqual(
    first("size", false, 2).names,
    ["org/app14", "org/app19"],
    "the largest first, by name among equals",
  );
});

test("a table may have more rows than a call has arguments", () => {
  const rows = Array.from({ length: 200_000 }, () => ["a", "b"]);
  assert.equal(gridText([{ title: "A" }, { title: "B" }], rows).length, 200_001 * 5);
});
