/** What is made of what was counted: verdicts, text, a page that stands by itself, lines that say how it goes. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { bytesText, countText, durationText, rateText } from "../../src/config/figures.ts";
import { escaped, lineChart, niceCeiling, rangeChart } from "../../src/load/chart.ts";
import { Display } from "../../src/load/display.ts";
import { Mishap } from "../../src/load/mishap.ts";
import type { LoadOptions } from "../../src/load/options.ts";
import { ratesOf, reportPage } from "../../src/load/page.ts";
import { progressLine } from "../../src/load/progress.ts";
import { summarise } from "../../src/load/report.ts";
import { reportText } from "../../src/load/table.ts";
import { mergePairs, Tally } from "../../src/load/tally.ts";
import { loadOptions } from "./options.ts";

const EVIL = `<script>alert("x")</script>&'\u001b[31m`;

function report(fill: (tally: Tally) => void, options: Partial<LoadOptions> = {}, more: object = {}) {
  const tally = new Tally();
  fill(tally);
  return summarise({
    options: loadOptions("http://127.0.0.1:5000", options),
    tally,
    seen: new Map([["app:1", { digest: `sha256:${"b".repeat(64)}`, config: undefined, layers: [] }]]),
    startedAt: new Date("2026-01-02T03:04:05Z"),
    elapsedMs: 2000,
    ended: "complete",
    loopBusy: 0.5,
    cpuSeconds: 2,
    ...more,
  });
}

const good = (tally: Tally) => {
  tally.answered();
  tally.received(4096);
  tally.successes = 1;
  for (let ms = 1; ms <= 1000; ms += 1) tally.time("manifest", ms);
  tally.pulled(1234);
  tally.blobs = 1;
};

test("a report has rates, quantiles in milliseconds and a verdict", () => {
  const found = report(good);
  assert.equal(found.verdict, "good");
  assert.equal(found.rates.bytesPerSecond, 2048);
  assert.equal(found.rates.requestsPerSecond, 0.5);
  const { manifest, pull, blobTotal } = found.latencyMs;
  assert.equal(manifest?.count, 1000);
  for (const [value, expected] of [
    [manifest?.p50, 500],
    [manifest?.p90, 900],
    [manifest?.p99, 990],
    [manifest?.p999, 999],
    [pull?.p50, 1234],
  ] as const) {
    // Three figures of precision.
    assert.ok(value !== undefined && Math.abs(value - expected) <= expected / 500, `${value} ${expected}`);
  }
  assert.equal(blobTotal, undefined);
  assert.deepEqual(JSON.parse(JSON.stringify(found)), found, "it survives JSON");
});

test("verdicts tell what was wrong as a whole", () => {
  const failing =
    (...kinds: Mishap["kind"][]) =>
    (tally: Tally) => {
      for (const kind of kinds) tally.failed(new Mishap(kind, "no"), "GET /v2/");
    };
  assert.equal(report(() => {}).verdict, "nothing pulled");
  assert.equal(report(failing("status 404", "status 404")).verdict, "not found");
  assert.equal(report(failing("status 401", "status 403")).verdict, "refused");
  assert.equal(report(failing("status 404", "reset")).verdict, "errors");
  assert.equal(
    report((tally) => {
      good(tally);
      failing("wrong digest")(tally);
    }).verdict,
    "errors",
  );
});

test("notes say what a reader must know", () => {
  const notes = (...given: Parameters<typeof report>) => report(...given).notes.join("\n");
  assert.match(notes(good, { verify: false }), /not hashed/);
  assert.match(
    notes(() => {}),
    /longer --duration/,
  );
  assert.match(notes(good, {}, { loopBusy: 0.97 }), /97 %.*--no-verify/);
  assert.match(notes(good, {}, { loopBusy: 0.97, cpuSeconds: 1 }), /got 50 % of one/);
  assert.match(notes(good, {}, { ended: "interrupted" }), /ended early/);
  assert.equal(notes(good), "");
});

test("no report names a password", () => {
  const found = report(good, { login: { username: "robot", password: "hunter2" } });
  for (const text of [JSON.stringify(found), reportText(found), reportPage(found)]) {
    assert.doesNotMatch(text, /hunter2/);
  }
  assert.match(JSON.stringify(found), /robot/);
});

test("errors are counted by kind, the first few are kept, and kinds are bounded", () => {
  const found = report((tally) => {
    for (let at = 0; at < 100; at += 1) tally.failed(new Mishap("reset", `number ${at}`), "GET /x".repeat(1000));
    for (let status = 500; status < 600; status += 1) tally.failed(new Mishap(`status ${status}`, ""), "GET");
  });
  assert.equal(found.totals.errors, 200);
  const resets = found.errors.find(({ kind }) => kind === "reset");
  assert.deepEqual([resets?.count, resets?.examples.length], [100, 3]);
  assert.ok((resets?.examples[0]?.length ?? 0) <= 400);
  assert.ok(found.errors.length <= 33);
});

test("a long series is halved, and nothing of it is lost", () => {
  const point = { requests: 1, bytes: 2, pulls: 3, errors: 4 };
  assert.deepEqual(mergePairs([point, point, point]), [
    { requests: 2, bytes: 4, pulls: 6, errors: 8 },
    { requests: 1, bytes: 2, pulls: 3, errors: 4 },
  ]);
});

test("the text has a row for what was timed and steers no terminal", () => {
  const text = reportText(
    report((tally) => {
      good(tally);
      tally.failed(new Mishap("bad answer", EVIL), "GET /v2/");
    }),
  );
  assert.match(text, /^warm as containerd · 2 clients · http:\/\/127\.0\.0\.1:5000\/$/m);
  assert.match(text, /manifest +1 000 +500 ms/);
  assert.match(text, /bad answer: 1/);
  assert.ok(!text.includes("\u001b"));
});

test("the page stands by itself, is well-formed, and escapes what came from outside", () => {
  const page = reportPage(
    report(
      (tally) => {
        good(tally);
        tally.failed(new Mishap("bad answer", EVIL), `GET ${EVIL}`);
      },
      { url: new URL("http://h/%3Cb%3E"), references: [EVIL], prefix: EVIL, platform: EVIL },
    ),
  );
  assert.doesNotMatch(page, /<script|alert\("/);
  assert.ok(!page.includes("\u001b"));
  assert.match(page, /&#60;script&#62;/);
  // Nothing is fetched: no element or rule that could, and a policy that forbids it.
  assert.doesNotMatch(
    page,
    /<(?:link|img|iframe|object|embed|script|base|form|a)\b|url\(|@import|\ssrc=|\shref=|\son\w+=/i,
  );
  assert.match(page, /default-src 'none'/);
  assert.ok((page.match(/<svg/g) ?? []).length >= 3);
  assertBalanced(page);
});

test("a page of a run in which nothing happened is a page all the same", () => {
  const page = reportPage(report(() => {}));
  assertBalanced(page);
  assert.doesNotMatch(page, /NaN|undefined|Infinity/);
});

test("charts take no values, one value and large ones", () => {
  const line = (values: number[]) => lineChart({ title: "t", intervalSeconds: 1, values, text: String, tone: "bytes" });
  for (const values of [[], [0], [5], [1e12, 0, 3]]) assert.doesNotMatch(line(values), /NaN|Infinity/);
  assert.doesNotMatch(rangeChart("t", [], String), /NaN|Infinity/);
  assert.doesNotMatch(rangeChart("t", [{ name: "n", marks: [{ name: "p50", value: 0 }] }], String), /NaN|Infinity/);
  assert.deepEqual(
    [0, 0.3, 1, 1.2, 3, 7, 99, 5001].map((value) => niceCeiling(value)),
    [1, 0.5, 1, 2, 5, 10, 100, 10_000],
  );
  assert.equal(niceCeiling(3 * 1024 * 1024, 1024), 5 * 1024 * 1024);
  assert.equal(escaped(`<&>"'`), "&#60;&#38;&#62;&#34;&#39;");
});

test("a chart's last point is of the time there was, and a sliver is left out", () => {
  const point = (bytes: number) => ({ requests: 0, bytes, pulls: 0, errors: 0 });
  const series = { intervalSeconds: 1, points: [point(10), point(0), point(5)] };
  assert.deepEqual(ratesOf({ ...report(good), seconds: 2.5, series }, "bytes"), [10, 0, 10]);
  assert.deepEqual(ratesOf({ ...report(good), seconds: 2.01, series }, "bytes"), [10, 0]);
});

test("figures have units that fit", () => {
  assert.deepEqual([0.0123, 1.234, 12.345, 1234, 90_000].map(durationText), [
    "12 µs",
    "1.23 ms",
    "12.3 ms",
    "1.23 s",
    "90 s",
  ]);
  assert.deepEqual([0, 999, 1000, 1_234_567].map(countText), ["0", "999", "1 000", "1 234 567"]);
  assert.deepEqual([0, 0.123, 12.34, 1234.5].map(rateText), ["0", "0.123", "12.3", "1 235"]);
  assert.deepEqual([10, 2048, 1024 * 1024 * 1.5].map(bytesText), ["10 bytes", "2 KiB", "1.5 MiB"]);
});

test("progress tells rates of the time since the line before", () => {
  const before = { elapsedMs: 1000, pulls: 1, requests: 100, bytes: 0, errors: 0, p99Ms: undefined };
  const now = { elapsedMs: 3000, pulls: 4, requests: 300, bytes: 4 * 1024 * 1024, errors: 1, p99Ms: 20 };
  assert.equal(progressLine(now, before), "3 s · 4 pulls · 100 req/s · 2 MiB/s · p99 20 ms · 1 errors");
});

test("on a terminal one line is redrawn and cleared; elsewhere lines are lines", () => {
  const draw = (isTTY: boolean) => {
    let written = "";
    const display = new Display({ isTTY, columns: 30, write: (text) => (written += text) });
    const tally = new Tally();
    display.tick(tally);
    display.tick(tally);
    display.clear();
    return written;
  };
  const terminal = draw(true);
  assert.ok(terminal.endsWith("\r\u001b[2K") && !terminal.includes("\n"));
  assert.ok(terminal.split("\r\u001b[2K").every((line) => line.length < 30));
  assert.match(draw(false), /^0 s · 0 pulls[^\n]*\n0 s · 0 pulls[^\n]*\n$/);
});

const VOID = new Set(["meta", "br", "!doctype"]);

/** Every element that opens closes, in order. */
function assertBalanced(page: string): void {
  const open: string[] = [];
  const body = page.replace(/<style>[\s\S]*?<\/style>/, "");
  for (const [tag, slash, name = "", selfClosed] of body.matchAll(/<(\/?)([a-z!][a-z0-9]*)[^>]*?(\/?)>/gi)) {
    if (VOID.has(name) || selfClosed === "/") continue;
    if (slash === "") open.push(name);
    else assert.equal(open.pop(), name, tag);
  }
  assert.deepEqual(open, []);
  assert.doesNotMatch(body.replace(/<[^<>]*>/g, ""), /[<>]/);
}
