/**
 * A report as one HTML file: figures, charts, tables. Nothing is loaded from anywhere, nothing runs, and everything
 * that came from outside is escaped.
 */

import { bytesText, countText, durationText, rateText } from "../config/figures.ts";
import { escaped, lineChart, rangeChart } from "./chart.ts";
import type { Report } from "./report.ts";
import type { Point, Timing } from "./tally.ts";
import { TIMING_NAMES } from "./wording.ts";

export function reportPage(report: Report): string {
  const asked = report.arguments;
  const title = `${asked["scenario"]} as ${asked["as"]}: ${asked["url"]}`;
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>${escaped(`wharfinger bench – ${title}`)}</title>
<style>${STYLE}</style>
</head>
<body>
<main>
<h1>${escaped(title)}</h1>
<p class="faint">${escaped(subtitle(report))}</p>
${notes(report)}
${tiles(report)}
<section>${charts(report)}</section>
<section><h2>Times</h2>${latencyTable(report)}</section>
${errorTable(report)}
<section><h2>Images</h2>${imageTable(report)}</section>
<section><h2>Asked for</h2>${argumentTable(report)}</section>
</main>
</body>
</html>
`;
}

function subtitle({ startedAt, seconds, ended, version, machine }: Report): string {
  const when = `${startedAt.replace("T", " ").replace(/\.\d+Z$/, " UTC")}, ${durationText(seconds * 1000)}`;
  const where = `${machine.cpus} × ${machine.cpu}, ${machine.platform}, Node ${machine.node}`;
  return `${when}${ended === "interrupted" ? ", ended early" : ""} · wharfinger ${version} · ${where}`;
}

function notes(report: Report): string {
  return report.notes.map((note) => `<p class="note">${escaped(note)}</p>`).join("\n");
}

function tiles({ totals, rates }: Report): string {
  const facts: [string, string, string][] = [
    [countText(totals.pulls), "pulls", `${rateText(rates.pullsPerSecond)}/s`],
    [countText(totals.requests), "requests", `${rateText(rates.requestsPerSecond)}/s`],
    [bytesText(totals.bytes), "received", `${bytesText(rates.bytesPerSecond)}/s`],
    [countText(totals.blobs), "blobs", `${countText(totals.verifiedBlobs)} verified`],
    [countText(totals.errors), "errors", totals.errors === 0 ? "none" : "see below"],
  ];
  const items = facts.map(([value, name, more]) => {
    const bad = name === "errors" && totals.errors > 0 ? ' class="bad"' : "";
    return `<div${bad}><b>${escaped(value)}</b><span>${escaped(name)}</span><i>${escaped(more)}</i></div>`;
  });
  return `<div class="tiles">${items.join("")}</div>`;
}

function charts(report: Report): string {
  const { intervalSeconds } = report.series;
  const line = (title: string, of: "bytes" | "requests" | "errors", text: (value: number) => string) =>
    lineChart({ title, intervalSeconds, values: ratesOf(report, of), text, tone: of });
  const rows = (Object.keys(TIMING_NAMES) as Timing[]).flatMap((timing) => {
    const found = report.latencyMs[timing];
    if (found === undefined) return [];
    const { p50, p90, p99, p999, max } = found;
    const values = { p50, p90, p99, "p99.9": p999, max };
    const marks = Object.entries(values).map(([name, value]) => ({ name, value }));
    return [{ name: TIMING_NAMES[timing], marks }];
  });
  const legend = ["p50", "p90", "p99", "p99.9", "max"].map((name, at) => `<span class="key k${at}">${name}</span>`);
  return [
    line("Bytes per second", "bytes", (value) => `${bytesText(value)}/s`),
    line("Requests per second", "requests", (value) => `${rateText(value)}/s`),
    rows.length === 0 ? "" : `${rangeChart("Times", rows, durationText)}<p class="legend">${legend.join(" ")}</p>`,
    line("Errors per second", "errors", (value) => `${rateText(value)}/s`),
  ].join("\n");
}

/** The last interval is seldom whole: its rate is of the part there was, and too small a part says nothing. */
export function ratesOf({ seconds, series }: Report, of: keyof Point): number[] {
  const { intervalSeconds, points } = series;
  return points.flatMap((point, at) => {
    const length = Math.min(intervalSeconds, seconds - at * intervalSeconds);
    return at > 0 && length < intervalSeconds / 4 ? [] : [point[of] / Math.max(length, 0.001)];
  });
}

function latencyTable({ latencyMs }: Report): string {
  const rows = (Object.keys(TIMING_NAMES) as Timing[]).flatMap((timing) => {
    const found = latencyMs[timing];
    if (found === undefined) return [];
    const { count, min, mean, p50, p90, p99, p999, max } = found;
    return [[TIMING_NAMES[timing], countText(count), ...[min, mean, p50, p90, p99, p999, max].map(durationText)]];
  });
  return table(["", "count", "min", "mean", "p50", "p90", "p99", "p99.9", "max"], rows);
}

function errorTable({ errors }: Report): string {
  if (errors.length === 0) return "";
  const rows = errors.map(({ kind, count, examples }) => [kind, countText(count), examples.join("\n")]);
  return `<section><h2>Errors</h2>${table(["kind", "count", "the first of them"], rows, "wordy")}</section>`;
}

function imageTable({ images }: Report): string {
  const rows = images.map((image) => [image.reference, image.digest, String(image.blobs), bytesText(image.bytes)]);
  return table(["reference", "digest", "blobs", "size"], rows, "wordy");
}

function argumentTable(report: Report): string {
  const rows = Object.entries(report.arguments).map(([name, value]) => [
    name,
    typeof value === "string" ? value : JSON.stringify(value),
  ]);
  return table(["argument", "value"], rows, "wordy");
}

function table(head: readonly string[], rows: readonly (readonly string[])[], style = "figures"): string {
  const cells = (row: readonly string[], tag: string) =>
    row.map((cell) => `<${tag}>${escaped(cell)}</${tag}>`).join("");
  const body = rows.map((row) => `<tr>${cells(row, "td")}</tr>`).join("\n");
  return `<div class="wide"><table class="${style}"><thead><tr>${cells(head, "th")}</tr></thead><tbody>\n${body}\n</tbody></table></div>`;
}

const STYLE = `
:root{color-scheme:light dark;--ink:#1c2430;--faint:#66707f;--paper:#fff;--line:#dfe4ea;--soft:#f4f6f8;--a:#1f6feb;--b:#0f8a7e;--c:#c2410c;--bad:#b42318}
@media(prefers-color-scheme:dark){:root{--ink:#e6eaf0;--faint:#98a3b3;--paper:#12161c;--line:#2b333e;--soft:#1b212a;--a:#6cb0ff;--b:#4fd1c5;--c:#fb923c;--bad:#ff8a80}}
body{margin:0;background:var(--paper);color:var(--ink);font:15px/1.5 system-ui,sans-serif}
main{max-width:820px;margin:0 auto;padding:24px 20px 60px}
h1{font-size:22px;margin:0;overflow-wrap:anywhere}h2{font-size:17px;margin:32px 0 8px}
.faint{color:var(--faint);margin:4px 0 16px}
.note{background:var(--soft);border-left:3px solid var(--c);padding:8px 12px;margin:8px 0}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(130px,1fr));gap:10px;margin:18px 0}
.tiles div{background:var(--soft);border-radius:8px;padding:12px}
.tiles b{display:block;font-size:21px;font-variant-numeric:tabular-nums}.tiles span{display:block}.tiles i{color:var(--faint);font-style:normal}
.tiles .bad b{color:var(--bad)}
figure{margin:26px 0 0}figcaption{font-weight:600;margin-bottom:4px}
svg{width:100%;height:auto;display:block}
.grid{stroke:var(--line)}.tick{fill:var(--faint);font-size:11px}.row{fill:var(--ink);font-size:13px}
.line{fill:none;stroke-width:2}.line.bytes{stroke:var(--a)}.line.requests{stroke:var(--b)}.line.errors{stroke:var(--bad)}
.area{opacity:.13}.area.bytes,.dot.bytes{fill:var(--a)}.area.requests,.dot.requests{fill:var(--b)}.area.errors,.dot.errors{fill:var(--bad)}
.range{stroke:var(--line);stroke-width:6;stroke-linecap:round}
.m0,.k0::before{fill:#2e7d32;background:#2e7d32}.m1,.k1::before{fill:#1f6feb;background:#1f6feb}.m2,.k2::before{fill:#8250df;background:#8250df}
.m3,.k3::before{fill:#c2410c;background:#c2410c}.m4,.k4::before{fill:#b42318;background:#b42318}
.legend{color:var(--faint);font-size:13px;margin:2px 0 0 132px}.key{margin-right:14px}.key::before{content:"";display:inline-block;width:10px;height:10px;border-radius:5px;margin-right:5px}
.wide{overflow-x:auto}table{border-collapse:collapse;width:100%;font-size:14px}
th,td{text-align:left;padding:5px 10px 5px 0;border-bottom:1px solid var(--line);vertical-align:top}th{color:var(--faint);font-weight:600}
.figures th:not(:first-child),.figures td:not(:first-child){text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
.wordy td{overflow-wrap:anywhere;white-space:pre-line}
`.trim();
