/**
 * A table for people: columns as wide as what stands in them, and on a terminal no wider than that. Pure.
 */
import { plain } from "./wording.ts";

export interface Column {
  readonly title: string;
  readonly align?: "right";
  /** Gives way where a line would be too long, in its middle. */
  readonly yields?: boolean;
}

const GAP = "  ";
const LEAST = 12;

/** @param width of the terminal; undefined where there is none, and nothing is cut. */
export function gridText(
  columns: readonly Column[],
  rows: readonly (readonly string[])[],
  { width, heads = true }: { readonly width?: number | undefined; readonly heads?: boolean } = {},
): string {
  const cells = [...(heads ? [columns.map(({ title }) => title)] : []), ...rows.map((row) => row.map(plain))];
  const widths = columns.map((_, at) => cells.reduce((most, row) => Math.max(most, [...(row[at] ?? "")].length), 0));
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
