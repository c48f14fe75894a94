/**
 * One line of a progress display: what it is about, a bar, how much of how much, how fast, how long still. Pure.
 *
 * The invariant: a line is never wider than it may be, so that it never wraps. What there is no room for is left out, the
 * bar first, the name last.
 */
import { bytesText } from "../config/figures.ts";
import { plain, spanText } from "./wording.ts";

/** How far something has come. */
export interface Course {
  readonly label: string;
  readonly done: number;
  /** Undefined where nobody knows yet. */
  readonly total: number | undefined;
  /** Said instead of speed and remaining time: what it waits for. */
  readonly note?: string | undefined;
}

export interface LineOptions {
  /** Columns. */
  readonly width: number;
  /** Columns that the names take, so that what follows is aligned. */
  readonly labelWidth: number;
  /** Default true. */
  readonly bar?: boolean;
  /** Of `done` and `total`; default bytes. */
  readonly amount?: ((value: number) => string) | undefined;
}

/** Below this a bar says less than the figures. */
const MIN_BAR = 10;
const MAX_BAR = 30;
const MIN_LABEL = 12;

export function courseLine(course: Course, perSecond: number, options: LineOptions): string {
  const { width, labelWidth, amount } = options;
  const figures = figuresOf(course, perSecond, amount ?? bytesText);
  for (let count = figures.length; count >= 0; count -= 1) {
    const told = figures.slice(0, count).join("  ");
    const room = width - widthOf(told) - (count === 0 ? 0 : 2);
    if (count > 0 && room < Math.min(labelWidth, MIN_LABEL)) continue;
    const barRoom = Math.min(MAX_BAR, room - labelWidth - 4);
    const share = course.total === undefined || course.total === 0 ? undefined : course.done / course.total;
    const bar = options.bar === false || barRoom < MIN_BAR || share === undefined ? "" : `  ${barOf(share, barRoom)}`;
    const labelRoom = Math.max(0, Math.min(labelWidth, room));
    const label = shortened(plain(course.label), labelRoom);
    return count === 0 ? label : `${label}${" ".repeat(Math.max(0, labelRoom - widthOf(label)))}${bar}  ${told}`;
  }
  return "";
}

/** `12 s left`; undefined where nobody can tell. */
export function remainingText({ done, total }: Course, perSecond: number): string | undefined {
  if (total === undefined || total <= done || perSecond <= 0) return undefined;
  return `${spanText(Math.max(1000, ((total - done) * 1000) / perSecond))} left`;
}

/** In the order in which they are worth their room. */
function figuresOf(course: Course, perSecond: number, amount: (value: number) => string): string[] {
  const { done, total, note } = course;
  const much = total === undefined ? amount(done) : `${amount(done)} of ${amount(total)}`;
  if (note !== undefined) return [plain(note), much];
  const remaining = remainingText(course, perSecond);
  const speed = perSecond > 0 ? [`${amount(perSecond)}/s`] : [];
  return [much, ...speed, ...(remaining === undefined ? [] : [remaining])];
}

/** `[=====>    ]`, of so many columns inside. */
function barOf(share: number, columns: number): string {
  const full = Math.max(0, Math.min(columns, Math.floor(share * columns)));
  const head = full < columns && full > 0 ? ">" : "";
  return `[${"=".repeat(full - head.length)}${head}${" ".repeat(columns - full)}]`;
}

/** Of names the end tells more than the beginning. */
export function shortened(text: string, width: number): string {
  if (widthOf(text) <= width) return text;
  const characters = [...text];
  while (characters.length > 0 && widthOf(characters.join("")) > width - 2) characters.shift();
  return width < 3 ? "" : `..${characters.join("")}`;
}

/** Columns that it takes at most: what is not ASCII may be wide. */
export function widthOf(text: string): number {
  let width = 0;
  for (const character of text) width += character >= " " && character <= "~" ? 1 : 2;
  return width;
}
