/**
 * A report as text for a terminal or a log.
 */

import { bytesText, countText, durationText, rateText } from "../config/figures.ts";
import type { Report } from "./report.ts";
import type { Quantiles, Timing } from "./tally.ts";
import { TIMING_NAMES } from "./wording.ts";

export function reportText(report: Report): string {
  const { totals, rates, arguments: asked } = report;
  const lines = [
    `${asked["scenario"]} as ${asked["as"]} · ${countText(Number(asked["clients"]))} clients · ${asked["url"]}`,
    ...report.images.map(
      ({ reference, digest, blobs, bytes }) =>
        `  ${plain(reference)}  ${digest.slice(0, 19)}  ${blobs} blobs, ${bytesText(bytes)}`,
    ),
    "",
    `  time        ${durationText(report.seconds * 1000)}${report.ended === "interrupted" ? ", ended early" : ""}`,
    `  pulls       ${countText(totals.pulls)}, ${rateText(rates.pullsPerSecond)}/s`,
    `  requests    ${countText(totals.requests)}, ${rateText(rates.requestsPerSecond)}/s`,
    `  bytes       ${bytesText(totals.bytes)}, ${bytesText(rates.bytesPerSecond)}/s`,
    `  blobs       ${countText(totals.blobs)} whole, ${countText(totals.verifiedBlobs)} of them verified`,
    ...(totals.slowReaders === 0 ? [] : [`  readers     ${countText(totals.slowReaders)} at once, slowly`]),
    `  errors      ${countText(totals.errors)}`,
    "",
    ...latencyLines(report),
    ...errorLines(report),
    ...report.notes.map((note) => `note: ${note}`),
  ];
  return `${lines.join("\n").trimEnd()}\n`;
}

function latencyLines({ latencyMs }: Report): string[] {
  const rows = (Object.keys(TIMING_NAMES) as Timing[]).flatMap((timing) => {
    const quantiles = latencyMs[timing];
    return quantiles === undefined ? [] : [[TIMING_NAMES[timing], ...cellsOf(quantiles)]];
  });
  if (rows.length === 0) return [];
  const head = ["", "count", "p50", "p90", "p99", "p99.9", "max"];
  const table = [head, ...rows];
  const widths = head.map((_, at) => Math.max(...table.map((row) => (row[at] ?? "").length)));
  const lines = table.map((row) => {
    const cells = row.map((cell, at) => (at === 0 ? cell.padEnd(widths[at] ?? 0) : cell.padStart(widths[at] ?? 0)));
    return `  ${cells.join("   ")}`.trimEnd();
  });
  return [...lines, ""];
}

function cellsOf(quantiles: Quantiles): string[] {
  const { count, p50, p90, p99, p999, max } = quantiles;
  return [countText(count), ...[p50, p90, p99, p999, max].map(durationText)];
}

function errorLines({ errors }: Report): string[] {
  if (errors.length === 0) return [];
  const lines = errors.flatMap(({ kind, count, examples }) => [
    `  ${kind}: ${countText(count)}`,
    ...examples.map((example) => `    ${plain(example)}`),
  ]);
  return ["errors by kind, with the first of each", ...lines, ""];
}

/** What servers say must not steer a terminal. */
function plain(text: string): string {
  return text.replace(/\p{Cc}+/gu, " ");
}
