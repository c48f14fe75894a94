/** Charts are well-formed whatever the names and figures are. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { barsChart, escapeXml, scenarioChart } from "../../bench/chart.ts";
import { atLeast, atMost, exactly, finding } from "../../bench/figures.ts";
import type { Sample } from "../../bench/samples.ts";

const NASTY = `<a href="x">&'\u0001]]>`;

/** Elements closed in order, attributes quoted, no stray character: what a strict parser would insist on. */
function assertWellFormed(svg: string): void {
  const open: string[] = [];
  const TAG = /<(\/?)([a-z]+)((?:\s+[\w:-]+="[^"<]*")*)\s*(\/?)>/g;
  const rest = svg.replace(TAG, (_, close: string, name: string, _attributes: string, empty: string) => {
    if (close === "/") assert.equal(open.pop(), name);
    else if (empty === "") open.push(name);
    return "";
  });
  assert.deepEqual(open, []);
  assert.doesNotMatch(rest, /[<>]|&(?!(?:amp|lt|gt|quot|apos);)/);
  assert.ok([...svg].every((char) => char >= " " || char === "\n"));
  assert.doesNotMatch(svg, /NaN|Infinity|undefined|="-/);
}

test("what XML gives a meaning to is escaped, and what it cannot hold is left out", () => {
  assert.equal(escapeXml(NASTY), "&lt;a href=&quot;x&quot;&gt;&amp;&apos;]]&gt;");
});

test("a scenario's chart is well-formed with nasty names, missing figures and zeros", () => {
  const samples = new Map<string, Sample[]>([
    ["mirror", [{ cpuPerGigabyte: 0.3, wallSeconds: 1 }, { cpuPerGigabyte: 0.5 }]],
    [NASTY, [{ cpuPerGigabyte: Number.NaN, upstreamRequests: 0 }]],
    ["nothing", []],
  ]);
  const svg = scenarioChart(NASTY, samples);
  assert.ok(svg !== undefined);
  assertWellFormed(svg);
  assert.match(svg, /&lt;a href=/);
  assert.match(svg, /0\.40 \(0\.30–0\.50\)/);
});

test("a scenario that measured nothing has no chart", () => {
  assert.equal(scenarioChart("x", new Map()), undefined);
  assert.equal(scenarioChart("x", new Map([["mirror", [{}]]])), undefined);
});

test("the chart of all bars is well-formed for every kind of bar and figure", () => {
  const bars = [atMost(1.05, 0.85), atLeast(80, 120), exactly(0), exactly(1), atMost(0)];
  const found = bars.flatMap((bar) =>
    [0, 1, 1e9, Number.NaN, Number.POSITIVE_INFINITY].map((value) => ({
      scenario: "s",
      finding: finding(NASTY, [value], { bar }),
    })),
  );
  const svg = barsChart(NASTY, [...found, { scenario: "s", finding: finding("no bar", [1]) }]);
  assertWellFormed(svg.replaceAll(/>[^<]*(?:NaN|Infinity)[^<]*</g, "><"));
  assert.doesNotMatch(svg, /no bar/);
});
