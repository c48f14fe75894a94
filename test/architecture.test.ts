/**
 * The layers of the source and the homes of packages, read from the import statements of every file.
 *
 * A file imports from a lower layer or its own folder; type imports count like any other.
 */
import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, normalize } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

const ROOT = fileURLToPath(new URL("../src/", import.meta.url));
const MANIFEST = new URL("../package.json", import.meta.url);

interface Edge {
  /** Path below `src`. */
  readonly from: string;
  /** Path below `src`, or the specifier of a package. */
  readonly to: string;
  readonly local: boolean;
}

/** Files beside the folders (`app.ts`, `index.ts`) are the folder ".". */
const LAYERS: ReadonlyMap<string, number> = new Map([
  ["base", 0],
  ["oci", 1],
  ["config", 1],
  ["store", 2],
  ["meta", 2],
  ["upstream", 2],
  ["access", 2],
  ["mirror", 3],
  ["hosted", 3],
  ["upkeep", 4],
  ["bundle", 4],
  ["load", 4],
  ["workers", 4],
  ["api", 5],
  ["http", 5],
  ["observe", 5],
  ["cli", 6],
  [".", 6],
]);

/** A package may have several homes. */
const HOMES: ReadonlyMap<string, readonly string[]> = new Map([
  ["undici", ["upstream"]],
  ["node:sqlite", ["meta"]],
  ["pino", ["observe"]],
  ["pino-pretty", ["observe"]],
  ["prom-client", ["observe"]],
  ["yargs", ["cli"]],
  ["smol-toml", ["cli"]],
  ["yaml", ["config"]],
  ["zod", ["config", "api"]],
  ["croner", ["upkeep", "config"]],
  ["tar-stream", ["bundle"]],
  ["node:http", ["http", "load"]],
  ["node:https", ["http", "load"]],
  ["node:http2", ["http"]],
]);

/** Folders that may know no more of another than these files: what is pure in it. */
const DOORS: ReadonlyMap<string, readonly string[]> = new Map([
  ["load -> upstream", ["upstream/auth/challenge.ts", "upstream/auth/realm.ts"]],
  ["load -> mirror", []],
  ["load -> store", []],
  ["load -> meta", []],
]);

const VAGUE = /^(?:utils?|common|helpers?|managers?|services?)$|[-_.](?:utils?|helpers?|manager|service)$/i;
const MAX_LINES = 400;

const STATEMENT = /^[ \t]*(?:import|export)\b(?:[^"'`;=()]*?\bfrom)?\s*["']([^"']+)["']/gm;
const CALL = /\bimport\(\s*["'`]([^"'`]+)["'`]/g;

/** The specifiers that a source text imports, comments left out. */
function specifiersIn(source: string): string[] {
  const code = source.replace(/\/\*[\s\S]*?\*\//g, "").replace(/^[ \t]*\/\/.*$/gm, "");
  return [STATEMENT, CALL].flatMap((pattern) => [...code.matchAll(pattern)].map((match) => match[1] ?? ""));
}

function edgesOf(file: string, source: string): Edge[] {
  return specifiersIn(source).map((specifier) =>
    specifier.startsWith(".")
      ? { from: file, to: normalize(join(dirname(file), specifier)), local: true }
      : { from: file, to: specifier, local: false },
  );
}

function folderOf(path: string): string {
  const slash = path.indexOf("/");
  return slash < 0 ? "." : path.slice(0, slash);
}

/** `zod/v4` is of `zod`, `@scope/name/part` of `@scope/name`; a module of Node keeps its name. */
function packageOf(specifier: string): string {
  const parts = specifier.split("/");
  if (specifier.startsWith("@")) return parts.slice(0, 2).join("/");
  return parts[0] ?? specifier;
}

/** What is wrong with an import; undefined where nothing is. */
function judgeEdge(edge: Edge): string | undefined {
  const folder = folderOf(edge.from);
  if (!edge.local) {
    const homes = HOMES.get(packageOf(edge.to));
    return homes === undefined || homes.includes(folder) ? undefined : `${edge.to} lives in ${homes.join("/, ")}/ only`;
  }
  if (edge.to.startsWith("..")) return "it leads out of the source";
  const target = folderOf(edge.to);
  const doors = DOORS.get(`${folder} -> ${target}`);
  if (doors !== undefined && !doors.includes(edge.to)) return `${folder}/ may not know ${edge.to}`;
  const own = LAYERS.get(folder);
  const other = LAYERS.get(target);
  if (own === undefined || other === undefined) return `${own === undefined ? folder : target}/ has no layer`;
  if (other < own || target === folder) return undefined;
  // The command line runs what the composition root builds; nothing else on that layer knows another.
  if (folder === "cli" && target === ".") return undefined;
  return other === own ? `${folder}/ and ${target}/ are on one layer` : `${target}/ is above ${folder}/`;
}

/** Every cycle once, as the files along it. */
function cyclesIn(edges: readonly Edge[]): string[][] {
  const next = new Map<string, string[]>();
  for (const { from, to, local } of edges) if (local) next.set(from, [...(next.get(from) ?? []), to]);
  const done = new Set<string>();
  const path: string[] = [];
  const cycles: string[][] = [];
  const visit = (file: string): void => {
    const at = path.indexOf(file);
    if (at >= 0) cycles.push([...path.slice(at), file]);
    if (at >= 0 || done.has(file)) return;
    path.push(file);
    for (const to of next.get(file) ?? []) visit(to);
    path.pop();
    done.add(file);
  };
  for (const file of next.keys()) visit(file);
  return cycles;
}

const files = readdirSync(ROOT, { recursive: true, encoding: "utf8" })
  .filter((name) => name.endsWith(".ts"))
  .sort();
const sources = new Map(files.map((file) => [file, readFileSync(join(ROOT, file), "utf8")]));
const edges = [...sources].flatMap(([file, source]) => edgesOf(file, source));

test("the scanner sees the source: many files, many imports, and none that leads nowhere", () => {
  assert.ok(files.length > 60, `only ${files.length} files`);
  assert.ok(edges.length > 200, `only ${edges.length} imports`);
  const lost = edges.filter((edge) => edge.local && !sources.has(edge.to)).map((edge) => `${edge.from} -> ${edge.to}`);
  assert.deepEqual(lost, []);
  // What the patterns overlooked: as many statements end in a specifier as lines do by a plain look at them.
  for (const [file, source] of sources) {
    const plain = source.split("\n").filter((line) => /^(?:import|export|\}).* from "[^"]+";$/.test(line)).length;
    const found = edges.filter((edge) => edge.from === file).length;
    assert.ok(found >= plain, `${file}: ${found} of ${plain} imports seen`);
  }
});

test("the scanner reads every form of import and no comment", () => {
  const source = `
import a from "./a.ts";
import {
  b,
  type C,
} from "./b.ts";
import type { D } from "./d.ts";
import * as e from "e";
import "./side.ts";
export { f } from "./f.ts";
export * from "./g.ts";
// import no from "./no.ts";
/** import { no } from "./no.ts"; */
const text = "import from nowhere";
export const h = "./no.ts";
const lazy = await import("./lazy.ts");
type T = import("./typed.ts").T;
`;
  assert.deepEqual(
    specifiersIn(source).sort(),
    ["./a.ts", "./b.ts", "./d.ts", "./f.ts", "./g.ts", "./lazy.ts", "./side.ts", "./typed.ts", "e"].sort(),
  );
});

test("the judge refuses invented imports that break the house, and lets good ones pass", () => {
  const local = (from: string, to: string) => judgeEdge({ from, to, local: true });
  const foreign = (from: string, to: string) => judgeEdge({ from, to, local: false });
  assert.match(local("base/clock.ts", "oci/digest.ts") ?? "", /above/);
  assert.match(local("mirror/fill.ts", "http/call.ts") ?? "", /above/);
  assert.match(local("store/disk.ts", "meta/tags.ts") ?? "", /one layer/);
  assert.match(local("http/reply.ts", "observe/log.ts") ?? "", /one layer/);
  assert.match(local("http/reply.ts", "app.ts") ?? "", /above/);
  assert.match(local("app.ts", "cli/main.ts") ?? "", /one layer/);
  assert.match(local("odd/thing.ts", "base/clock.ts") ?? "", /no layer/);
  assert.match(local("base/clock.ts", "odd/thing.ts") ?? "", /no layer/);
  assert.match(local("base/clock.ts", "../test/kit/clock.ts") ?? "", /out of the source/);
  assert.match(foreign("mirror/fill.ts", "undici") ?? "", /upstream/);
  assert.match(foreign("store/disk.ts", "node:sqlite") ?? "", /meta/);
  assert.match(foreign("upstream/client.ts", "node:http") ?? "", /http\//);
  assert.match(foreign("http/listener.ts", "zod/v4") ?? "", /config/);
  assert.match(foreign("mirror/fill.ts", "pino") ?? "", /observe/);
  assert.match(foreign("load/line.ts", "undici") ?? "", /upstream/);
  assert.match(local("load/client.ts", "upstream/client.ts") ?? "", /may not know/);
  assert.match(local("load/client.ts", "mirror/fill.ts") ?? "", /may not know/);
  for (const [from, to] of [
    ["http/reply.ts", "base/failure.ts"],
    ["upstream/credentials/resolve.ts", "upstream/exchange/trouble.ts"],
    ["cli/serve.ts", "app.ts"],
    ["load/login.ts", "upstream/auth/challenge.ts"],
    ["index.ts", "app.ts"],
    ["mirror/fill.ts", "mirror/fills.ts"],
  ] as const) {
    assert.equal(local(from, to), undefined);
  }
  assert.equal(foreign("http/listener.ts", "node:http"), undefined);
  assert.equal(foreign("load/line.ts", "node:http"), undefined);
  assert.equal(foreign("upstream/credentials/deep/x.ts", "undici"), undefined);
});

test("the cycle finder finds cycles of one, two and three files, and none where there is none", () => {
  const graph = (...pairs: [string, string][]) => pairs.map(([from, to]) => ({ from, to, local: true }));
  assert.deepEqual(cyclesIn(graph(["a", "a"])), [["a", "a"]]);
  assert.deepEqual(cyclesIn(graph(["a", "b"], ["b", "a"])), [["a", "b", "a"]]);
  assert.deepEqual(cyclesIn(graph(["x", "a"], ["a", "b"], ["b", "c"], ["c", "a"])), [["a", "b", "c", "a"]]);
  assert.deepEqual(cyclesIn(graph(["a", "b"], ["a", "c"], ["b", "c"])), []);
});

test("a file imports from a lower layer or its own folder, and packages keep to their homes", () => {
  const faults = edges.flatMap((edge) => {
    const fault = judgeEdge(edge);
    return fault === undefined ? [] : [`${edge.from} imports ${edge.to}: ${fault}`];
  });
  assert.deepEqual(faults, []);
});

test("no file imports itself by way of others", () => {
  assert.deepEqual(
    cyclesIn(edges).map((cycle) => cycle.join(" -> ")),
    [],
  );
});

test("every package that is imported is declared as a dependency at run time", () => {
  const manifest: unknown = JSON.parse(readFileSync(MANIFEST, "utf8"));
  assert.ok(typeof manifest === "object" && manifest !== null);
  const declared = new Set<string>();
  for (const section of ["dependencies", "optionalDependencies", "peerDependencies"]) {
    for (const name of Object.keys((manifest as Record<string, object>)[section] ?? {})) declared.add(name);
  }
  const missing = edges
    .filter((edge) => !edge.local && !edge.to.startsWith("node:") && !declared.has(packageOf(edge.to)))
    .map((edge) => `${edge.from} imports ${edge.to}`);
  assert.deepEqual(missing, []);
});

test("a file is one idea: at most 400 lines, and a noun for its name", () => {
  const long = [...sources]
    .filter(([, source]) => source.trimEnd().split("\n").length > MAX_LINES)
    .map(([file]) => file);
  assert.deepEqual(long, []);
  const vague = files.filter((file) => file.split("/").some((part) => VAGUE.test(part.replace(/\.ts$/, ""))));
  assert.deepEqual(vague, []);
  for (const bad of ["util", "utils", "common", "helpers", "manager", "service", "token-manager"]) {
    assert.match(bad, VAGUE);
  }
  for (const good of ["tokens", "tokenserver", "commonplace", "known"]) assert.doesNotMatch(good, VAGUE);
});
