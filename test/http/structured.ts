/**
 * Reads a structured field item with its parameters (RFC 8941 §3.3, §3.1.2), as far as Cache-Status uses them: tokens,
 * integers, strings and booleans.
 */

export type BareItem = { readonly token: string } | number | string | boolean;

export interface Item {
  readonly value: BareItem;
  readonly parameters: ReadonlyMap<string, BareItem>;
}

const TOKEN = /^[A-Za-z*][!#$%&'*+.^_`|~0-9A-Za-z:/-]*/;
const INTEGER = /^-?\d{1,15}(?![\d.])/;
const STRING = /^"((?:[\x20-\x21\x23-\x5b\x5d-\x7e]|\\["\\])*)"/;
const BOOLEAN = /^\?([01])/;
const KEY = /^[a-z*][a-z0-9_.*-]*/;

/** @throws Error where the text is no item. */
export function parseItem(text: string): Item {
  let rest = text.replace(/^ +| +$/g, "");
  const take = (pattern: RegExp): RegExpExecArray | undefined => {
    const match = pattern.exec(rest) ?? undefined;
    if (match !== undefined) rest = rest.slice(match[0].length);
    return match;
  };
  const bare = (): BareItem => {
    const integer = take(INTEGER);
    if (integer !== undefined) return Number(integer[0]);
    const string = take(STRING);
    if (string !== undefined) return (string[1] ?? "").replace(/\\(.)/g, "$1");
    const boolean = take(BOOLEAN);
    if (boolean !== undefined) return boolean[1] === "1";
    const token = take(TOKEN);
    if (token !== undefined) return { token: token[0] };
    throw new Error(`no bare item at: ${rest}`);
  };
  const value = bare();
  const parameters = new Map<string, BareItem>();
  while (take(/^; */) !== undefined) {
    const key = take(KEY);
    if (key === undefined) throw new Error(`no key at: ${rest}`);
    parameters.set(key[0], take(/^=/) === undefined ? true : bare());
  }
  if (rest !== "") throw new Error(`left over: ${rest}`);
  return { value, parameters };
}
