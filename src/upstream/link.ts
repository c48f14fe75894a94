/**
 * The `Link` header (RFC 8288), as far as a list's next page needs it.
 *
 * Only the query of the target is ever used: where the next page is asked is decided by us, not by the upstream.
 */

const MAX_INPUT = 8 * 1024;
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
  const text = (typeof header === "string" ? header : header.join(", ")).slice(0, MAX_INPUT);
  const links: Link[] = [];
  let at = 0;
  const take = (pattern: RegExp): RegExpExecArray | undefined => {
    pattern.lastIndex = at;
    const match = pattern.exec(text);
    if (match === null) return undefined;
    at = pattern.lastIndex;
    return match;
  };
  while (at < text.length) {
    const before = at;
    const target = take(TARGET)?.[1];
    if (target !== undefined) {
      let relations: readonly string[] | undefined;
      for (let parameter = take(PARAMETER); parameter !== undefined; parameter = take(PARAMETER)) {
        // RFC 8288 §3.3: only the first `rel` counts.
        if (parameter[1]?.toLowerCase() !== "rel" || relations !== undefined) continue;
        const value = parameter[2]?.replace(/\\([\s\S])/g, "$1") ?? parameter[3] ?? "";
        relations = value.toLowerCase().split(/\s+/).filter(Boolean);
      }
      links.push({ target: target.trim(), relations: relations ?? [] });
    }
    take(NEXT_COMMA);
    if (at === before) at++;
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
