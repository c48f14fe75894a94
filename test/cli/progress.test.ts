import assert from "node:assert/strict";
import { test } from "node:test";
import { Progress, type ProgressOutput } from "../../src/cli/progress.ts";
import { courseLine, remainingText, shortened, widthOf } from "../../src/cli/progress-line.ts";
import { ManualClock } from "../kit/clock.ts";
import { Screen } from "../kit/screen.ts";

const MIB = 1024 * 1024;

function pipe(): ProgressOutput & { readonly text: string } {
  let text = "";
  return {
    write(more: string) {
      text += more;
    },
    get text() {
      return text;
    },
  };
}

test("a line has name, bar, amounts, speed and remaining time where there is room", () => {
  const course = { label: "alpine:3.20", done: 50 * MIB, total: 100 * MIB };
  const line = courseLine(course, 10 * MIB, { width: 120, labelWidth: 14 });
  assert.equal(line, `alpine:3.20     [${"=".repeat(14)}>${" ".repeat(15)}]  50 MiB of 100 MiB  10 MiB/s  5 s left`);
});

test("no line is ever wider than it may be, whatever the width, the name and the figures", () => {
  const labels = [
    "a",
    "docker.io/library/alpine:3.20",
    "registry.example.com/".repeat(20),
    "日本語の名前".repeat(5),
    "\u001b[2J\nx",
  ];
  for (const label of labels) {
    for (const [done, total] of [
      [0, 0],
      [0, undefined],
      [5, 10],
      [2 ** 50, 2 ** 51],
      [20, 10],
    ] as const) {
      for (let width = 0; width < 140; width += 1 + (width >> 4)) {
        for (const note of [undefined, "waiting for docker.io's limit, 12 min"]) {
          const line = courseLine({ label, done, total, note }, 12_345_678, {
            width,
            labelWidth: Math.min(60, widthOf(label)),
          });
          assert.ok(widthOf(line) <= width, `${width}: ${line}`);
          assert.ok(!line.includes("\u001b") && !line.includes("\n"));
        }
      }
    }
  }
});

test("what is told goes by its worth: the bar goes first and the name stays", () => {
  const course = { label: "docker.io/library/alpine:3.20", done: 50 * MIB, total: 100 * MIB };
  const at = (width: number) => courseLine(course, 10 * MIB, { width, labelWidth: 29 });
  assert.match(at(79), /alpine:3\.20 {2}50 MiB of 100 MiB {2}10 MiB\/s {2}5 s left$/);
  assert.match(at(50), /alpine:3\.20 {2}50 MiB of 100 MiB/);
  assert.match(at(16), /^\.\..*alpine:3\.20$/);
  assert.equal(shortened("abcdef", 4), "..ef");
});

test("remaining time is told only where it can be known", () => {
  assert.equal(remainingText({ label: "", done: 10, total: 110 }, 10), "10 s left");
  assert.equal(remainingText({ label: "", done: 10, total: undefined }, 10), undefined);
  assert.equal(remainingText({ label: "", done: 10, total: 110 }, 0), undefined);
  assert.equal(remainingText({ label: "", done: 110, total: 110 }, 10), undefined);
});

test("a terminal shows the pieces that run and their sum, and what is said stays above", async () => {
  const clock = new ManualClock();
  const screen = new Screen(100, 24);
  const progress = new Progress(screen, { clock });
  progress.update("a", { label: "alpine:3.20", done: 0, total: 100 * MIB });
  progress.update("b", { label: "nginx:1.27", done: 0, total: undefined });
  progress.total({ label: "2 images", done: 0, total: 100 * MIB });
  await clock.advance(1000);
  progress.update("a", { label: "alpine:3.20", done: 20 * MIB, total: 100 * MIB });
  progress.total({ label: "2 images", done: 20 * MIB, total: 100 * MIB });
  await clock.advance(1000);
  assert.match(screen.lines[0] ?? "", /^alpine:3\.20 +\[=+> +\] {2}20 MiB of 100 MiB {2}\d.* MiB\/s {2}\d+ s left$/);
  assert.match(screen.lines[1] ?? "", /^nginx:1\.27 +0 bytes$/);
  assert.match(screen.lines[2] ?? "", /^2 images +\[/);
  assert.equal(screen.lines.length, 3);
  progress.finish("a", "alpine:3.20: done");
  await clock.advance(250);
  assert.equal(screen.lines[0], "alpine:3.20: done");
  assert.match(screen.lines[1] ?? "", /^nginx/);
  assert.equal(screen.lines.length, 3);
  progress.end();
  progress.end();
  assert.deepEqual(screen.lines, ["alpine:3.20: done"]);
  assert.equal(clock.pending, 0);
});

test("a terminal that is narrow, low, or made narrower meanwhile is never scrolled or soiled", async () => {
  for (const [columns, rows] of [
    [20, 24],
    [80, 5],
    [1, 2],
  ] as const) {
    const clock = new ManualClock();
    const screen = new Screen(columns, rows);
    const progress = new Progress(screen, { clock });
    for (let at = 0; at < 30; at++)
      progress.update(`${at}`, { label: `registry.example.com/team/app:${at}`, done: at, total: 30 });
    progress.total({ label: "30 images", done: 10, total: 30 });
    await clock.advance(2000);
    assert.ok(screen.lines.length < rows || rows < 3, `${screen.lines.length} lines`);
    if (columns > 4) {
      screen.resize(Math.ceil(columns / 2));
      await clock.advance(500);
      screen.resize(columns);
      await clock.advance(500);
    }
    progress.say("hello");
    progress.end();
    const told = [...screen.history, ...screen.lines].map((line) => line.trimEnd());
    if (columns > 5) assert.equal(told.at(-1), "hello");
  }
});

test("elsewhere there are plain lines: one for what has ended, and how it goes every ten seconds", async () => {
  const clock = new ManualClock();
  const output = pipe();
  const progress = new Progress(output, { clock });
  progress.total({ label: "2 images", done: 0, total: 100 * MIB });
  progress.update("a", { label: "alpine:3.20", done: 0, total: 100 * MIB });
  await clock.advance(9000);
  assert.equal(output.text, "");
  progress.total({ label: "2 images", done: 50 * MIB, total: 100 * MIB });
  await clock.advance(1000);
  assert.equal(output.text, "2 images  50 MiB of 100 MiB  5 MiB/s  10 s left\n");
  progress.finish("a", "alpine:3.20: done");
  progress.end();
  await clock.advance(60_000);
  assert.equal(output.text, "2 images  50 MiB of 100 MiB  5 MiB/s  10 s left\nalpine:3.20: done\n");
  assert.equal(clock.pending, 0);
});

test("a quiet display writes nothing", async () => {
  const clock = new ManualClock();
  const screen = new Screen(80, 24);
  const progress = new Progress(screen, { clock, quiet: true });
  progress.update("a", { label: "a", done: 1, total: 2 });
  progress.say("x");
  await clock.advance(60_000);
  progress.end();
  assert.deepEqual(screen.lines, []);
});

test("what is counted need not be bytes, and speed falls when nothing comes", async () => {
  const clock = new ManualClock();
  const screen = new Screen(100, 24);
  const progress = new Progress(screen, { clock, amount: (value) => `${Math.round(value)} blobs` });
  progress.update("a", { label: "scrub", done: 0, total: 100 });
  await clock.advance(1000);
  progress.update("a", { label: "scrub", done: 50, total: 100 });
  await clock.advance(1000);
  assert.match(screen.lines[0] ?? "", /50 blobs of 100 blobs {2}\d+ blobs\/s/);
  await clock.advance(10_000);
  assert.match(screen.lines[0] ?? "", /50 blobs of 100 blobs$/);
  // A clock that is set back spoils nothing.
  clock.jump(-3_600_000);
  progress.update("a", { label: "scrub", done: 60, total: 100 });
  await clock.advance(3_600_500);
  progress.end();
  assert.equal(clock.pending, 0);
});
