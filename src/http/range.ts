/**
 * The Range header (RFC 9110 §14). Pure.
 *
 * Unknown units and broken syntax are ignored; what is well-formed and cannot be satisfied is refused. Many or
 * overlapping ranges are answered with the whole: they ask for more than it (RFC 9110 §17.15).
 */
import type { Slice } from "../mirror/slice.ts";

export type RangeVerdict = "ignore" | "unsatisfiable" | readonly Slice[];

const MAX_RANGES = 64;
const SPEC = /^(\d*)-(\d*)$/;

/** @param sizeBytes of the whole representation. */
export function judgeRange(header: string | undefined, sizeBytes: number): RangeVerdict {
  if (header === undefined || sizeBytes === 0) return "ignore";
  const match = /^bytes[ \t]*=(.*)$/i.exec(header);
  if (match?.[1] === undefined) return "ignore";
  const specs = match[1].split(",").map((spec) => spec.trim());
  if (specs.length > MAX_RANGES) return "ignore";
  const ranges: Slice[] = [];
  for (const spec of specs) {
    if (spec === "") continue;
    const range = parseSpec(spec, sizeBytes);
    if (range === "malformed") return "ignore";
    if (range !== "unsatisfiable") ranges.push(range);
  }
  if (ranges.length === 0) return specs.some((spec) => spec !== "") ? "unsatisfiable" : "ignore";
  return overlap(ranges) ? "ignore" : ranges;
}

function parseSpec(spec: string, sizeBytes: number): Slice | "malformed" | "unsatisfiable" {
  const match = SPEC.exec(spec);
  if (match === null) return "malformed";
  const [, first = "", last = ""] = match;
  if (first === "") {
    if (last === "") return "malformed";
    const length = Number(last);
    return length === 0 ? "unsatisfiable" : { start: Math.max(0, sizeBytes - length), end: sizeBytes - 1 };
  }
  const start = Number(first);
  const end = last === "" ? sizeBytes - 1 : Number(last);
  // A last position before the first is invalid, and the conformance suite expects 416 for it.
  if (start >= sizeBytes || end < start) return "unsatisfiable";
  return { start, end: Math.min(end, sizeBytes - 1) };
}

function overlap(ranges: readonly Slice[]): boolean {
  const sorted = [...ranges].sort((a, b) => a.start - b.start);
  return sorted.some((range, at) => {
    const before = sorted[at - 1];
    return before !== undefined && range.start <= before.end;
  });
}
