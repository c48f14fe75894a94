/**
 * Kinds of values that stand in a query, where all is text. They take JSON's own values as well.
 */
import * as z from "zod";

/** `?all=true`; absent is false. */
export function queryFlag(doc: string) {
  return z
    .enum(["true", "false"])
    .default("false")
    .transform((text) => text === "true")
    .describe(doc);
}

/** A whole number from `least` to `most`. */
export function queryNumber(doc: string, standard: number, { least = 1, most }: { least?: number; most: number }) {
  return z.coerce.number().int().min(least).max(most).default(standard).describe(doc);
}

/** `?upstream=a&upstream=b`, or one alone, or none. */
export function queryList(doc: string, item = z.string().min(1).max(1000)) {
  return z
    .union([item.transform((one) => [one]), z.array(item).max(100)])
    .default([])
    .describe(doc);
}

/** What a query says, as operations take it. */
export function readQuery(query: URLSearchParams): Record<string, string | string[]> {
  const found: Record<string, string | string[]> = Object.create(null);
  for (const name of new Set(query.keys())) {
    const [first = "", ...more] = query.getAll(name);
    found[name] = more.length === 0 ? first : [first, ...more];
  }
  return found;
}

/** The inverse: what is undefined is left out. */
export function queryOf(input: object): URLSearchParams {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(input)) {
    for (const one of Array.isArray(value) ? value : [value]) if (one !== undefined) query.append(name, String(one));
  }
  return query;
}
