/**
 * Charts as SVG, by hand: one of all bars, and one a scenario with what each server measured. Pure, and every text that
 * goes in is escaped.
 */
import { type Finding, figureText, judge, limitText, median, spread } from "./figures.ts";
import { MEASURES, type Measure, type Samples, seriesOf } from "./samples.ts";

const WIDTH = 1000;
const LABEL_WIDTH = 370;
const PLOT_WIDTH = 340;
const ROW = 24;
const FONT = 'font-family="system-ui, sans-serif" font-size="13"';
const COLOURS = { mirror: "#2266aa", other: "#9aa5b1", good: "#2e8b57", pass: "#2266aa", bad: "#c0392b" } as const;

export function escapeXml(text: string): string {
  // Control characters have no place in XML, escaped or not.
  const printable = [...text].filter((char) => char >= " " || char === "\n").join("");
  const entities: Readonly<Record<string, string>> = {
    "&": "&amp;",
    "<": "&lt;",
    ">": "&gt;",
    '"': "&quot;",
    "'": "&apos;",
  };
  return printable.replace(/[&<>"']/g, (char) => entities[char] ?? char);
}

export interface BarredFinding {
  readonly scenario: string;
  readonly finding: Finding;
}

/** Each figure as a share of what it must be: beyond the line is a miss, whichever way the figure should go. */
export function barsChart(title: string, found: readonly BarredFinding[]): string {
  const rows = found.filter(({ finding }) => finding.bar !== undefined);
  const at = (share: number) => LABEL_WIDTH + Math.min(Math.max(share, 0), 1.5) * (PLOT_WIDTH / 1.5);
  const body = rows.map(({ scenario, finding }, index) => {
    const y = 40 + index * ROW;
    const { bar } = finding;
    const verdict = judge(finding);
    const colour = verdict === "MISS" ? COLOURS.bad : verdict === "aim reached" ? COLOURS.good : COLOURS.pass;
    const share = shareOf(finding);
    const aim = bar?.aim === undefined ? "" : tick(at(shareOf({ ...finding, value: bar.aim })), y, COLOURS.good);
    const figure = `${figureText({ ...finding, note: "" }).replace(/; $/, "")} (${limitText(bar, "must")})`;
    return [
      text(LABEL_WIDTH - 8, y + 15, `${scenario}: ${finding.what}`, "end", 11),
      Number.isFinite(share) ? rect(LABEL_WIDTH, y + 4, at(share) - LABEL_WIDTH, ROW - 8, colour) : "",
      aim,
      text(LABEL_WIDTH + PLOT_WIDTH + 8, y + 15, `${figure} ${verdict}`, "start", 11),
    ].join("");
  });
  const height = 56 + rows.length * ROW;
  const must = at(1);
  const line = `<line x1="${n(must)}" y1="36" x2="${n(must)}" y2="${height - 14}" stroke="#333" stroke-width="1.5"/>`;
  const head = `${title} — line: must; green mark: aim; shorter is better`;
  return svg(height, text(12, 22, head, "start", 14), ...body, line);
}

/** One panel a measure, one row a server, the bar at the median and a line over the spread. */
export function scenarioChart(title: string, samples: Samples): string | undefined {
  const measures = (Object.keys(MEASURES) as Measure[]).filter((measure) =>
    [...samples.keys()].some((server) => seriesOf(samples, server, measure).length > 0),
  );
  if (measures.length === 0) return undefined;
  const parts = [text(12, 22, title, "start", 14)];
  let y = 36;
  for (const measure of measures) {
    const { label, digits } = MEASURES[measure];
    const rows = [...samples.keys()].flatMap((server) => {
      const values = seriesOf(samples, server, measure).filter(Number.isFinite);
      return values.length === 0 ? [] : [{ server, values }];
    });
    const most = Math.max(...rows.flatMap(({ values }) => values), Number.MIN_VALUE);
    const at = (value: number) => LABEL_WIDTH + (Math.max(0, value) / most) * PLOT_WIDTH;
    parts.push(text(LABEL_WIDTH, y + 15, label, "start", 13, "bold"));
    y += ROW;
    for (const { server, values } of rows) {
      const colour = server.startsWith("mirror") ? COLOURS.mirror : COLOURS.other;
      const [low, high] = [Math.min(...values), Math.max(...values)];
      parts.push(
        text(LABEL_WIDTH - 8, y + 15, server, "end", 12),
        rect(LABEL_WIDTH, y + 4, at(median(values)) - LABEL_WIDTH, ROW - 8, colour),
        `<line x1="${n(at(low))}" y1="${y + 12}" x2="${n(at(high))}" y2="${y + 12}" stroke="#333" stroke-width="1.5"/>`,
        text(LABEL_WIDTH + PLOT_WIDTH + 8, y + 15, spread(values, digits), "start", 12),
      );
      y += ROW;
    }
    y += 8;
  }
  return svg(y + 8, ...parts);
}

/** Of the bar's must; above 1 is a miss. */
function shareOf({ value, bar }: Pick<Finding, "value" | "bar">): number {
  if (bar === undefined) return Number.NaN;
  if (bar.sense === "exactly") return value === bar.must ? 1 : 1.5;
  if (bar.sense === "atLeast") return value > 0 ? bar.must / value : 1.5;
  return bar.must === 0 ? (value > 0 ? 1.5 : 0) : value / bar.must;
}

function svg(height: number, ...parts: readonly string[]): string {
  const size = `width="${WIDTH}" height="${height}" viewBox="0 0 ${WIDTH} ${height}"`;
  const open = `<svg xmlns="http://www.w3.org/2000/svg" ${size} ${FONT}>`;
  return `${open}\n${rect(0, 0, WIDTH, height, "#ffffff")}\n${parts.filter((part) => part !== "").join("\n")}\n</svg>\n`;
}

function rect(x: number, y: number, width: number, height: number, fill: string): string {
  return `<rect x="${n(x)}" y="${n(y)}" width="${n(width)}" height="${n(height)}" fill="${fill}"/>`;
}

function tick(x: number, y: number, colour: string): string {
  return `<line x1="${n(x)}" y1="${y + 1}" x2="${n(x)}" y2="${y + ROW - 1}" stroke="${colour}" stroke-width="3"/>`;
}

type Anchor = "start" | "end";

function text(x: number, y: number, content: string, anchor: Anchor, size: number, weight = "normal"): string {
  const style = `text-anchor="${anchor}" font-size="${size}" font-weight="${weight}"`;
  return `<text x="${n(x)}" y="${n(y)}" ${style} fill="#222">${escapeXml(content)}</text>`;
}

/** A coordinate; what is no number must not become an attribute that is none. */
function n(value: number): string {
  return Number.isFinite(value) ? String(Math.round(value * 10) / 10) : "0";
}
