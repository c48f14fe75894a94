/**
 * Ways through what a configuration file held, of which nothing is known but that it was JSON, YAML or TOML. Pure.
 */

/** Of a table; nothing of anything else. */
export function entriesOf(value: unknown): [string, unknown][] {
  return typeof value === "object" && value !== null && !Array.isArray(value) ? Object.entries(value) : [];
}

/** What stands below these keys. */
export function valueAt(value: unknown, ...keys: readonly string[]): unknown {
  return keys.reduce<unknown>((table, key) => entriesOf(table).find(([name]) => name === key)?.[1], value);
}

/** Of a list; nothing of anything else. */
export function itemsOf(value: unknown): unknown[] {
  return Array.isArray(value) ? value : [];
}
