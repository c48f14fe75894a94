/**
 * A configuration file as YAML: its value, the line of every key, and what is wrong with it as YAML.
 *
 * Whatever the bytes are, the outcome is a document or faults, never another throw: size, nesting and aliases are
 * bounded, and no message quotes the file, which may hold secrets.
 */
import {
  isAlias,
  isMap,
  isScalar,
  isSeq,
  LineCounter,
  type Node,
  type Pair,
  parseDocument,
  visit,
  type YAMLError,
  type YAMLMap,
} from "yaml";
import { pathText } from "./faults.ts";

export interface DocumentFault {
  readonly path: string;
  readonly line?: number;
  readonly message: string;
}

export interface ConfigDocument {
  /** Plain data; undefined where the faults leave no value to go on with. */
  readonly value: unknown;
  readonly faults: readonly DocumentFault[];
  /** The line of the key at this path, or of its nearest existing parent; undefined for the whole file. */
  findLine(path: readonly PropertyKey[]): number | undefined;
}

const MAX_ALIASES = 100;
const MAX_FAULTS = 100;

export function readDocument(text: string): ConfigDocument {
  try {
    return readYaml(text);
  } catch {
    // Very deep nesting exhausts the stack, and too many aliases are refused while the value is made.
    const message = "cannot be read as YAML: nested too deeply, or too many aliases";
    return { value: undefined, faults: [{ path: "", message }], findLine: () => undefined };
  }
}

function readYaml(text: string): ConfigDocument {
  const lines = new LineCounter();
  const lineAt = (offset: number) => lines.linePos(offset).line;
  const document = parseDocument(text, {
    lineCounter: lines,
    prettyErrors: false,
    // Found below instead, with the path of the key.
    uniqueKeys: false,
    stringKeys: true,
    logLevel: "error",
  });
  const problems = [...document.errors, ...document.warnings].slice(0, MAX_FAULTS);
  // The parser goes on after an exhausted stack, and then finds fault with everything.
  if (problems.some(({ message }) => /stack (?:size|overflow)/i.test(message)))
    throw new RangeError("nested too deeply");
  const faults: DocumentFault[] = problems.map((problem) => ({
    path: "",
    line: lineAt(problem.pos[0]),
    message: textOf(problem),
  }));
  const broken = faults.length > 0;
  const indexes = new WeakMap<YAMLMap, ReadonlyMap<string, Pair>>();
  const keysOf = (map: YAMLMap) => {
    const known = indexes.get(map) ?? indexKeys(map);
    indexes.set(map, known);
    return known;
  };

  visit(document, {
    Map(_, map, ancestors) {
      const seen = new Set<string>();
      for (const pair of map.items) {
        if (!isScalar(pair.key)) continue;
        const key = String(pair.key.value);
        // JavaScript gives this one a meaning of its own.
        const message = key === "__proto__" ? "unknown key" : seen.has(key) ? "duplicate key" : undefined;
        seen.add(key);
        if (message === undefined) continue;
        const line = pair.key.range ? { line: lineAt(pair.key.range[0]) } : {};
        faults.push({ path: pathText([...pathOf([...ancestors, map]), key]), ...line, message });
        if (faults.length >= MAX_FAULTS) return visit.BREAK;
      }
      return undefined;
    },
  });

  return {
    value: broken ? undefined : document.toJS({ maxAliasCount: MAX_ALIASES }),
    faults,
    findLine(path) {
      let node: Node | null | undefined = document.contents;
      let offset: number | undefined;
      for (const step of path) {
        if (isAlias(node)) node = node.resolve(document);
        if (isMap(node)) {
          const pair = keysOf(node).get(String(step));
          if (pair === undefined) break;
          if (isScalar(pair.key) && pair.key.range) offset = pair.key.range[0];
          node = isNode(pair.value) ? pair.value : undefined;
        } else if (isSeq(node)) {
          const item: unknown = node.items[Number(step)];
          if (!isNode(item)) break;
          offset = item.range?.[0] ?? offset;
          node = item;
        } else break;
      }
      return offset === undefined ? undefined : lineAt(offset);
    },
  };
}

/** The pairs by their keys; where a key is repeated the first counts. */
function indexKeys(map: YAMLMap): ReadonlyMap<string, Pair> {
  const pairs = new Map<string, Pair>();
  for (const pair of map.items) {
    if (!isScalar(pair.key)) continue;
    const key = String(pair.key.value);
    if (!pairs.has(key)) pairs.set(key, pair);
  }
  return pairs;
}

function isNode(value: unknown): value is Node {
  return isMap(value) || isSeq(value) || isScalar(value) || isAlias(value);
}

function pathOf(ancestors: readonly unknown[]): string[] {
  const path: string[] = [];
  ancestors.forEach((ancestor, at) => {
    if (isSeq(ancestor)) path.push(String(ancestor.items.indexOf(ancestors[at + 1])));
    if (typeof ancestor === "object" && ancestor !== null && "key" in ancestor && isScalar(ancestor.key)) {
      path.push(String(ancestor.key.value));
    }
  });
  return path;
}

/** The parser's own words, but where they would quote the file. */
function textOf(problem: YAMLError): string {
  switch (problem.code) {
    case "BAD_ALIAS":
      return "an alias (*name) needs its anchor (&name) before it; put text that begins with * in quotes";
    case "TAG_RESOLVE_FAILED":
      return "tags (!name) are not understood; put text that begins with ! in quotes";
    case "NON_STRING_KEY":
      return "a key must be text";
    case "MULTIPLE_DOCS":
      return "one YAML document is expected, here begins another";
    case "BAD_SCALAR_START":
      return "text that begins with a special character (@, `, %) must be put in quotes";
    case "BAD_DQ_ESCAPE":
      return "invalid escape in double quotes; use single quotes, or \\\\ for a backslash";
    case "UNEXPECTED_TOKEN":
      return "invalid YAML: something unexpected stands here";
    default:
      return `invalid YAML: ${problem.message.split("\n", 1)[0]?.slice(0, 200) ?? ""}`;
  }
}
