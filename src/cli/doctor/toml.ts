/**
 * The few things of TOML that daemons' configurations use: tables, arrays of tables, and keys with strings, booleans,
 * numbers, or lists of strings. Tolerant: what else there is, or is malformed, is passed over, and never throws.
 */
export type TomlValue = string | boolean | number | readonly string[];

export interface TomlEntry {
  /** Of `[host."http://x"]`: host, http://x. */
  readonly table: readonly string[];
  /** Which header of the file it stands under; equal for keys of one table. */
  readonly header: number;
  readonly key: string;
  readonly value: TomlValue;
}

const KEY = /\s*(?:"((?:[^"\\]|\\.)*)"|'([^']*)'|([A-Za-z0-9_-]+))\s*/y;
const STRING = /"((?:[^"\\]|\\.)*)"|'([^']*)'/g;
const MAX_LINES = 20_000;

export function readToml(text: string): readonly TomlEntry[] {
  const lines = text.replace(/^\uFEFF/, "").split(/\r?\n/, MAX_LINES);
  const entries: TomlEntry[] = [];
  let table: readonly string[] = [];
  let header = 0;
  for (let at = 0; at < lines.length; at += 1) {
    const line = lines[at]?.trim() ?? "";
    if (line === "" || line.startsWith("#")) continue;
    if (line.startsWith("[")) {
      table = readKeys(line, line.startsWith("[[") ? 2 : 1).keys;
      header += 1;
      continue;
    }
    const { keys, end } = readKeys(line, 0);
    const key = keys.at(-1);
    if (key === undefined || line.charAt(end) !== "=") continue;
    let rest = line.slice(end + 1).trim();
    // A list may go over several lines.
    while (rest.startsWith("[") && !isClosed(rest) && at + 1 < lines.length) {
      at += 1;
      rest += `\n${lines[at] ?? ""}`;
    }
    const value = readValue(rest);
    if (value !== undefined) entries.push({ table: [...table, ...keys.slice(0, -1)], header, key, value });
  }
  return entries;
}

/** The tables that begin with this word, by header: their path, and their keys. */
export function tablesOf(entries: readonly TomlEntry[], first: string) {
  const found = new Map<number, { readonly path: readonly string[]; readonly values: Map<string, TomlValue> }>();
  for (const { table, header, key, value } of entries) {
    if (table[0] !== first) continue;
    const one = found.get(header) ?? { path: table, values: new Map<string, TomlValue>() };
    one.values.set(key, value);
    found.set(header, one);
  }
  return [...found.values()];
}

function readKeys(line: string, from: number): { readonly keys: readonly string[]; readonly end: number } {
  const keys: string[] = [];
  let end = from;
  for (;;) {
    KEY.lastIndex = end;
    const match = KEY.exec(line);
    if (match === null) return { keys, end };
    keys.push(match[1] === undefined ? (match[2] ?? match[3] ?? "") : unescaped(match[1]));
    end = KEY.lastIndex;
    if (line.charAt(end) !== ".") return { keys, end };
    end += 1;
  }
}

function readValue(text: string): TomlValue | undefined {
  if (text.startsWith("[")) return [...uncommented(text).matchAll(STRING)].map(stringOf);
  if (/^true\b/.test(text)) return true;
  if (/^false\b/.test(text)) return false;
  const number = /^[+-]?\d+(?:\.\d+)?(?=\s|#|$)/.exec(text)?.[0];
  if (number !== undefined) return Number(number);
  STRING.lastIndex = 0;
  const match = STRING.exec(text);
  return match?.index === 0 ? stringOf(match) : undefined;
}

function isClosed(text: string): boolean {
  const bare = uncommented(text).replace(STRING, "");
  return bare.includes("]");
}

function uncommented(text: string): string {
  return text.replace(/("(?:[^"\\]|\\.)*"|'[^']*')|#[^\n]*/g, "$1");
}

function stringOf(match: RegExpMatchArray): string {
  return match[1] === undefined ? (match[2] ?? "") : unescaped(match[1]);
}

function unescaped(text: string): string {
  return text.replace(/\\(["\\])/g, "$1");
}
