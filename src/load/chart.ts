/**
 * Charts as inline SVG: lines over time, and ranges of times on a logarithmic scale. Pure.
 *
 * Everything inserted is escaped here; colours come from the page's style sheet.
 */

export function escaped(text: string): string {
  return text.replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`).replace(/[^\P{Cc}\n]/gu, " ");
}

export interface LineChart {
  readonly title: string;
  /** Seconds between two values. */
  readonly intervalSeconds: number;
  readonly values: readonly number[];
  readonly text: (value: number) => string;
  /** CSS class of the line. */
  readonly tone: "bytes" | "requests" | "errors";
}

const WIDTH = 760;
const HEIGHT = 200;
const LEFT = 92;
const RIGHT = 16;
const TOP = 14;
const BOTTOM = 28;

export function lineChart({ title, intervalSeconds, values, text, tone }: LineChart): string {
  const top = niceCeiling(Math.max(0, ...values), tone === "bytes" ? 1024 : 1000);
  const wide = WIDTH - LEFT - RIGHT;
  const high = HEIGHT - TOP - BOTTOM;
  const x = (at: number) => LEFT + (values.length < 2 ? wide / 2 : (at / (values.length - 1)) * wide);
  const y = (value: number) => TOP + high * (1 - value / top);
  const points = values.map((value, at) => `${fixed(x(at))},${fixed(y(value))}`);
  const grid = [0, 0.25, 0.5, 0.75, 1].map((share) => {
    const at = fixed(y(top * share));
    return (
      `<line class="grid" x1="${LEFT}" y1="${at}" x2="${WIDTH - RIGHT}" y2="${at}"/>` +
      `<text class="tick" x="${LEFT - 8}" y="${at}" dy="0.32em" text-anchor="end">${escaped(text(top * share))}</text>`
    );
  });
  const dots = values.map((value, at) => {
    const label = `${fixed(at * intervalSeconds)} s: ${text(value)}`;
    return `<circle class="dot ${tone}" cx="${fixed(x(at))}" cy="${fixed(y(value))}" r="3"><title>${escaped(label)}</title></circle>`;
  });
  const base = fixed(y(0));
  const area =
    values.length < 2
      ? ""
      : `<polygon class="area ${tone}" points="${fixed(x(0))},${base} ${points.join(" ")} ${fixed(x(values.length - 1))},${base}"/>`;
  const last = fixed(Math.max(0, values.length - 1) * intervalSeconds);
  return figure(title, HEIGHT, [
    ...grid,
    area,
    `<polyline class="line ${tone}" points="${points.join(" ")}"/>`,
    ...dots,
    `<text class="tick" x="${LEFT}" y="${HEIGHT - 8}">0 s</text>`,
    `<text class="tick" x="${WIDTH - RIGHT}" y="${HEIGHT - 8}" text-anchor="end">${last} s</text>`,
  ]);
}

export interface RangeRow {
  readonly name: string;
  /** Rising, with a name each. */
  readonly marks: readonly { readonly name: string; readonly value: number }[];
}

const ROW = 46;

/** One row per kind: its quantiles as marks on a common logarithmic scale. */
export function rangeChart(title: string, rows: readonly RangeRow[], text: (value: number) => string): string {
  const values = rows.flatMap(({ marks }) => marks.map(({ value }) => value)).filter((value) => value > 0);
  const low = Math.floor(Math.log10(Math.min(1, ...values)));
  const high = Math.max(low + 1, Math.ceil(Math.log10(Math.max(1, ...values))));
  const left = LEFT + 40;
  const wide = WIDTH - left - RIGHT - 24;
  const x = (value: number) => left + ((Math.log10(Math.max(10 ** low, value)) - low) / (high - low)) * wide;
  const height = TOP + rows.length * ROW + BOTTOM;
  const grid = Array.from({ length: high - low + 1 }, (_, at) => {
    const value = 10 ** (low + at);
    return (
      `<line class="grid" x1="${fixed(x(value))}" y1="${TOP}" x2="${fixed(x(value))}" y2="${height - BOTTOM}"/>` +
      `<text class="tick" x="${fixed(x(value))}" y="${height - 8}" text-anchor="middle">${escaped(text(value))}</text>`
    );
  });
  const bars = rows.map(({ name, marks }, row) => {
    const middle = TOP + row * ROW + ROW / 2;
    const first = marks[0];
    const last = marks.at(-1);
    const bar =
      first === undefined || last === undefined
        ? ""
        : `<line class="range" x1="${fixed(x(first.value))}" y1="${middle}" x2="${fixed(x(last.value))}" y2="${middle}"/>`;
    const dots = marks.map(
      (mark, at) =>
        `<circle class="mark m${at}" cx="${fixed(x(mark.value))}" cy="${middle}" r="6">` +
        `<title>${escaped(`${name} ${mark.name}: ${text(mark.value)}`)}</title></circle>`,
    );
    return `<text class="row" x="${left - 12}" y="${middle}" dy="0.32em" text-anchor="end">${escaped(name)}</text>${bar}${dots.join("")}`;
  });
  return figure(title, height, [...grid, ...bars]);
}

function figure(title: string, height: number, parts: readonly string[]): string {
  return (
    `<figure><figcaption>${escaped(title)}</figcaption>` +
    `<svg viewBox="0 0 ${WIDTH} ${height}" role="img" aria-label="${escaped(title)}">${parts.join("")}</svg></figure>`
  );
}

/** 1, 2 or 5 times a power of ten, in the unit that fits: the top of a scale. */
export function niceCeiling(value: number, base: 1000 | 1024 = 1000): number {
  if (!(value > 0)) return 1;
  const unit = base ** Math.max(0, Math.floor(Math.log(value) / Math.log(base)));
  return niceDecimal(value / unit) * unit;
}

function niceDecimal(value: number): number {
  const power = 10 ** Math.floor(Math.log10(value));
  return ([1, 2, 5, 10].find((step) => value <= step * power) ?? 10) * power;
}

function fixed(value: number): string {
  return String(Number(value.toFixed(1)));
}
