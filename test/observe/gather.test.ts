/** Lines on their way to a file: whole, in order, in few writes. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { LineGatherer } from "../../src/observe/gather.ts";

function gatherer(everyMs = 60_000) {
  const pages: string[] = [];
  const flushed: string[] = [];
  const lines = new LineGatherer(
    {
      write: (page) => pages.push(page.toString()),
      flush: (done) => {
        flushed.push("flush");
        done?.();
      },
      flushSync: () => flushed.push("flushSync"),
    },
    everyMs,
  );
  return { lines, pages, flushed };
}

test("lines are gathered and none is torn, whatever its length and script", () => {
  const { lines, pages } = gatherer();
  const all = Array.from({ length: 3000 }, (_, at) => `${at} ${"ä€😀x".repeat(at % 40)}\n`);
  for (const line of all) lines.write(line);
  lines.flushSync();
  assert.equal(pages.join(""), all.join(""));
  assert.ok(pages.length < 60, `${pages.length} writes`);
  for (const page of pages) assert.ok(page.endsWith("\n"));
});

test("a line that is longer than a page is handed on alone, in its place", () => {
  const { lines, pages } = gatherer();
  const long = `${"x".repeat(100_000)}\n`;
  for (const line of ["first\n", long, "last\n"]) lines.write(line);
  lines.flushSync();
  assert.deepEqual(pages, ["first\n", long, "last\n"]);
});

test("flushing hands on first", () => {
  const { lines, pages, flushed } = gatherer();
  lines.write("a\n");
  lines.flush();
  lines.write("b\n");
  lines.flushSync();
  lines.flushSync();
  assert.deepEqual(pages, ["a\n", "b\n"]);
  assert.deepEqual(flushed, ["flush", "flushSync", "flushSync"]);
});

test("a lonely line is handed on after a while, and nothing that was handed on changes", async () => {
  const handed: Buffer[] = [];
  const lines = new LineGatherer({ write: (page) => handed.push(page), flush: () => {}, flushSync: () => {} }, 10);
  lines.write("alone\n");
  while (handed.length === 0) await new Promise((resolve) => setTimeout(resolve, 5));
  lines.write("later\n");
  lines.flushSync();
  assert.deepEqual(handed.map(String), ["alone\n", "later\n"]);
});
