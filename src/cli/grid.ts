/**
 * A table for people: columns as wide as what stands in them, and on a terminal no wider than that. Pure.
 */
import { plain } from "./wording.ts";

export interface Column {
  readonly title: string;
  readonly align?: "right";
  /** Gives way where a line would be too long, in its middle. */
  readonly yields?: boolean;
  /** Left out, the last one first, before names are cut beyond recognition. */
  readonly spare?: boolean;
}

const GAP = "  ";
const LEAST = 12;
const READABLE = 26;

/** @param width of the terminal; undefined where there is none, and nothing is cut. */
export function gridText(
  given: readonly Column[],
  rows: readonly (readonly string[])[],
  { width, heads = true }: { readonly width?: number | undefined; readonly heads?: boolean } = {},
): string {
  const all = widthsOf(given, rows, heads);
  const shown = width === undefined ? given.map(() => true) : fitting(given, all, width);
  const columns = given.filter((_, at) => shown[at]);
  const cells = rows.map((row) => row.filter((_, at) => shown[at]).map(plain));
  if (heads) cells.unshift(columns.map(({ title }) => title));
  const widths = all.filter((_, at) => shown[at]);
  if (width !== undefined) narrow(columns, widths, width);
  const lines = cells.map((row) => {
    const line = columns.map(({ align }, at) => {
      const text = shortened(row[at] ?? "", widths[at] ?? 0);
      const space = " ".repeat(Math.max(0, (widths[at] ?? 0) - [...text].length));
      return align === "right" ? space + text : text + space;
    });
    return line.join(GAP).trimEnd();
  });
  return lines.map((line) => `${line}\n`).join("");
}

function widthsOf(columns: readonly Column[], rows: readonly (readonly string[])[], heads: boolean): number[] {
  return columns.map(({ title }, at) =>
    rows.reduce((most, row) => Math.max(most, [...plain(row[at] ?? "")].length), heads ? title.length : 0),
  );
}

/** Which columns are shown. */
function fitting(columns: readonly Column[], widths: readonly number[], width: number): boolean[] {
  const shown = columns.map(() => true);
  const needed = () =>
    columns.reduce((sum, { yields }, at) => {
      const own = widths[at] ?? 0;
      return shown[at] ? sum + (yields === true ? Math.min(own, READABLE) : own) + GAP.length : sum;
    }, -GAP.length);
  for (let at = columns.length - 1; at >= 0 && needed() > width; at -= 1) {
    if (columns[at]?.spare === true) shown[at] = false;
  }
  return shown;
}

/** The widest of those that yield gives first. */
function narrow(columns: readonly Column[], widths: number[], width: number): void {
  const total = () => widths.reduce((sum, one) => sum + one, GAP.length * (widths.length - 1));
  while (total() > width) {
    let widest = -1;
    for (const [at, { yields }] of columns.entries()) {
      const own = widths[at] ?? 0;
      if (yields === true && own > LEAST && own > (widths[widest] ?? 0)) widest = at;
    }
    if (widest < 0) return;
    widths[widest] = (widths[widest] ?? 0) - 1;
  }
}

function shortened(text: string, width: number): string {
  const letters = [...text];
  if (letters.length <= width) return text;
  const head = Math.ceil((width - 1) / 2);
  const tail = width - 1 - head;
  return `${letters.slice(0, head).join("")}…${tail === 0 ? "" : letters.slice(-tail).join("")}`;
}
