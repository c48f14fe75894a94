/** Tables for people, on wide terminals and on narrow ones. */
import assert from "node:assert/strict";
import test from "node:test";
import { gridText } from "../../src/cli/grid.ts";

const COLUMNS = [
  { title: "IMAGE", yields: true },
  { title: "KIND", yields: true, spare: true },
  { title: "SIZE", align: "right" },
  { title: "HITS", spare: true },
] as const;
const ROW = ["docker.io/library/alpine", "linux/amd64,linux/arm64", "4.6MiB", "12"];

function head(width: number, row = ROW): string {
  const text = gridText(COLUMNS, [row], { width });
  assert.ok(
    text.split("\n").every((line) => [...line].length <= width),
    text,
  );
  return text.split("\n")[0]?.replace(/ +/g, " ") ?? "";
}

test("before names are cut beyond recognition columns are left out, the last one first", () => {
  assert.deepEqual([head(80), head(60), head(40)], ["IMAGE KIND SIZE HITS", "IMAGE KIND SIZE", "IMAGE SIZE"]);
  assert.match(gridText(COLUMNS, [ROW], { width: 40 }), /docker\.io\/library\/alpine +4\.6MiB\n/);
});

test("a long name is cut in its middle", () => {
  const name = `docker.io/${"organisation/".repeat(3)}application`;
  assert.match(gridText(COLUMNS, [[name, "", "1B", "1"]], { width: 40 }), /^docker\.io\/o\S*…\S*\/application {2}/m);
  assert.equal(head(40, [name, "", "1B", "1"]).startsWith("IMAGE"), true);
});

test("without a terminal nothing is left out, and nothing is cut", () => {
  const text = gridText(COLUMNS, [ROW]);
  assert.ok(ROW.every((cell) => text.includes(cell)));
});
