/**
 * Shows how long work is going: on a terminal a line for each piece that runs and one for all together, redrawn a few
 * times a second; elsewhere plain lines, one for what has ended and one now and then.
 *
 * The invariants: lines never wrap, and never more are drawn than the terminal has rows; what is said for good stands
 * above what is redrawn; after `end` nothing of the display is left, and no timer.
 */
import type { Clock } from "../base/clock.ts";
import { type Course, courseLine, shortened, widthOf } from "./progress-line.ts";

export type { Course } from "./progress-line.ts";

export interface ProgressOutput {
  write(text: string): unknown;
  readonly isTTY?: boolean;
  readonly columns?: number;
  readonly rows?: number;
}

export interface ProgressOptions {
  readonly clock: Clock;
  /** Shows nothing, says nothing. */
  readonly quiet?: boolean;
  /** How `done` and `total` are written; default as bytes. */
  readonly amount?: (value: number) => string;
}

const REDRAW_MS = 250;
const LINE_MS = 10_000;
/** Speeds are of the last few seconds. */
const WINDOW_MS = 6000;
const MAX_SAMPLES = 64;
const MAX_LINES = 12;
const MAX_LABEL = 60;

/** How fast something has been, from what was seen of it. */
class Speed {
  readonly #samples: { readonly at: number; readonly done: number }[] = [];

  see(at: number, done: number): void {
    const last = this.#samples.at(-1);
    // A clock that was set back, or work that began anew, leaves nothing to reckon with.
    if (last !== undefined && (last.at > at || last.done > done)) this.#samples.length = 0;
    else if (last?.at === at) this.#samples.pop();
    this.#samples.push({ at, done });
    while (this.#samples.length > MAX_SAMPLES || (this.#samples[1]?.at ?? at) < at - WINDOW_MS) this.#samples.shift();
  }

  get perSecond(): number {
    const [first, last] = [this.#samples[0], this.#samples.at(-1)];
    if (first === undefined || last === undefined || last.at <= first.at) return 0;
    return ((last.done - first.done) * 1000) / (last.at - first.at);
  }
}

interface Shown {
  course: Course;
  readonly speed: Speed;
}

export class Progress {
  readonly #output: ProgressOutput;
  readonly #options: ProgressOptions;
  readonly #running = new Map<string, Shown>();
  #total: Shown | undefined;
  /** The lines that stand there now. */
  #drawn: readonly string[] = [];
  #cancel: (() => void) | undefined;
  #ended = false;

  constructor(output: ProgressOutput, options: ProgressOptions) {
    this.#output = output;
    this.#options = options;
    this.#tick();
  }

  /** Something runs, and has come so far. */
  update(key: string, course: Course): void {
    const shown = this.#running.get(key);
    if (shown === undefined) this.#running.set(key, { course, speed: this.#begun(course) });
    else shown.course = course;
  }

  /** All together. */
  total(course: Course): void {
    if (this.#total === undefined) this.#total = { course, speed: this.#begun(course) };
    else this.#total.course = course;
  }

  /** It runs no longer. @param said stays, as a line of its own. */
  finish(key: string, said?: string): void {
    this.#running.delete(key);
    if (said !== undefined) this.say(said);
  }

  /** A line that stays. It may be longer than the terminal is wide. */
  say(text: string): void {
    if (this.#options.quiet === true || this.#ended) return;
    if (this.#output.isTTY !== true) {
      this.#output.write(`${text}\n`);
      return;
    }
    const lines = this.#lines();
    this.#output.write(`${this.#erasing()}${text}\n${block(lines)}`);
    this.#drawn = lines;
  }

  /** Takes the display away, so that what comes next begins on a clean line. May be called more than once. */
  end(): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#cancel?.();
    if (this.#drawn.length > 0) this.#output.write(this.#erasing());
    this.#drawn = [];
  }

  #begun(course: Course): Speed {
    const speed = new Speed();
    speed.see(this.#options.clock.now(), course.done);
    return speed;
  }

  #tick(): void {
    const { clock, quiet } = this.#options;
    if (quiet === true) return;
    const isTerminal = this.#output.isTTY === true;
    this.#cancel = clock.after(isTerminal ? REDRAW_MS : LINE_MS, () => {
      this.#look(clock.now());
      if (isTerminal) this.#redraw();
      else this.#tell();
      this.#tick();
    });
  }

  #look(now: number): void {
    for (const { course, speed } of this.#running.values()) speed.see(now, course.done);
    this.#total?.speed.see(now, this.#total.course.done);
  }

  #redraw(): void {
    const lines = this.#lines();
    if (lines.length === 0 && this.#drawn.length === 0) return;
    this.#output.write(`${this.#erasing()}${block(lines)}`);
    this.#drawn = lines;
  }

  /** Elsewhere than on a terminal: a line that says how it goes. */
  #tell(): void {
    const shown = this.#total ?? [...this.#running.values()][0];
    if (shown === undefined) return;
    const options = { width: 200, labelWidth: widthOf(shown.course.label), amount: this.#options.amount, bar: false };
    this.#output.write(`${courseLine(shown.course, shown.speed.perSecond, options)}\n`);
  }

  #lines(): string[] {
    // A line as wide as the terminal wraps on some.
    const width = this.#columns - 1;
    const room = Math.max(1, Math.min(MAX_LINES, (this.#rows ?? 24) - 2));
    const all = [...this.#running.values()];
    const running = all.slice(0, all.length > room ? room - 1 : room);
    const shown = this.#total === undefined ? running : [...running, this.#total];
    const labels = shown.map(({ course }) => widthOf(course.label));
    const labelWidth = Math.min(MAX_LABEL, Math.max(0, ...labels), Math.max(12, Math.floor(width * 0.45)));
    const lines = shown.map(({ course, speed }) =>
      courseLine(course, speed.perSecond, { width, labelWidth, amount: this.#options.amount }),
    );
    const hidden = all.length - running.length;
    if (hidden > 0) lines.splice(running.length, 0, shortened(`and ${hidden} more`, width));
    return lines;
  }

  /** Some terminals say that they have none. */
  get #columns(): number {
    const { columns } = this.#output;
    return columns !== undefined && columns > 0 ? columns : 80;
  }

  get #rows(): number | undefined {
    const { rows } = this.#output;
    return rows !== undefined && rows > 0 ? rows : undefined;
  }

  /** Takes away what stands there: a terminal that was made narrower since has wrapped it. */
  #erasing(): string {
    if (this.#drawn.length === 0) return "";
    const columns = this.#columns;
    const rows = this.#drawn.reduce((sum, line) => sum + Math.max(1, Math.ceil(widthOf(line) / columns)), 0);
    return `\x1b[${rows}A\r\x1b[J`;
  }
}

function block(lines: readonly string[]): string {
  return lines.map((line) => `${line}\n`).join("");
}
