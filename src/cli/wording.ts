/**
 * Words of results for terminals: what others said made harmless, spans of time, columns. Pure.
 */

const MAX_TEXT = 500;

/** One line without control characters: what a server says could move a terminal's cursor. */
export function plain(text: string): string {
  const clean = text.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]+/gu, " ");
  return clean.length <= MAX_TEXT ? clean : `${clean.slice(0, MAX_TEXT - 1)}…`;
}

/** `850 ms`, `12 s`, `6 h`, `3 days`. */
export function spanText(ms: number): string {
  if (ms < 1000) return `${Math.round(ms)} ms`;
  const seconds = Math.round(ms / 1000);
  if (seconds < 120) return `${seconds} s`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`;
  if (seconds < 172_800) return `${Math.round(seconds / 3600)} h`;
  return `${Math.round(seconds / 86_400)} days`;
}

/** Each row a line, its first cell as wide as the widest. */
export function columns(rows: readonly (readonly [string, string])[], indent: string): string[] {
  const width = Math.max(0, ...rows.map(([head]) => head.length));
  return rows.map(([head, rest]) => `${indent}${head.padEnd(width)}  ${rest}`);
}
