/**
 * The `Link` header (RFC 8288), as far as a list's next page needs it.
 *
 * Only the query of the target is ever used: where the next page is asked is decided by us, not by the upstream.
 */
import { FieldText } from "./fieldtext.ts";

const MAX_QUERY = 2048;

const TARGET = /[\s,]*<([^<>]*)>/y;
const PARAMETER =
  /[ \t]*;[ \t]*([!#$%&'*+\-.^_`|~0-9A-Za-z]+)(?:[ \t]*=[ \t]*(?:"((?:[^"\\]|\\[\s\S])*)"|([^\s;,"]+)))?/y;
const NEXT_COMMA = /(?:[^,"]|"(?:[^"\\]|\\[\s\S])*"|")*,?/y;

export interface Link {
  readonly target: string;
  /** Relation types in lower case. */
  readonly relations: readonly string[];
}

/** Never throws; skips what is malformed. */
export function parseLinks(header: string | readonly string[] | undefined): readonly Link[] {
  if (header === undefined) return [];
  const field = new FieldText(header);
  const links: Link[] = [];
  while (!field.ended) {
    const before = field.at;
    const target = field.take(TARGET)?.[1];
    if (target !== undefined) {
      let relations: readonly string[] | undefined;
      for (let parameter = field.take(PARAMETER); parameter !== undefined; parameter = field.take(PARAMETER)) {
        // RFC 8288 §3.3: only the first `rel` counts.
        if (parameter[1]?.toLowerCase() !== "rel" || relations !== undefined) continue;
        const value = parameter[2]?.replace(/\\([\s\S])/g, "$1") ?? parameter[3] ?? "";
        relations = value.toLowerCase().split(/\s+/).filter(Boolean);
      }
      links.push({ target: target.trim(), relations: relations ?? [] });
    }
    field.take(NEXT_COMMA);
    if (field.at === before) field.at += 1;
  }
  return links;
}

/** The query of the link with `rel="next"`, without its question mark; undefined where there is none that can be sent. */
export function findNextQuery(header: string | readonly string[] | undefined): string | undefined {
  const next = parseLinks(header).find((link) => link.relations.includes("next"));
  if (next === undefined) return undefined;
  const target = next.target.split("#", 1)[0] ?? "";
  const mark = target.indexOf("?");
  const query = mark < 0 ? "" : target.slice(mark + 1);
  return query !== "" && query.length <= MAX_QUERY && /^[\x21-\x7e]+$/.test(query) ? query : undefined;
}
