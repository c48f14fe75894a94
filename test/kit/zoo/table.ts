/**
 * Prints what pulls cost each family's hosts, cold and warm, as a table in Markdown: `node test/kit/zoo/table.ts`.
 */
import { FAMILIES } from "./families.ts";
import { type Cost, costOf, mirrorOf, pull, takeVisits } from "./pull.ts";
import { trustZoo, Zoo } from "./zoo.ts";

const COLUMNS: readonly (readonly [title: string, of: (cost: Cost) => number])[] = [
  ["challenge", (cost) => cost.challenges],
  ["token", (cost) => cost.tokens],
  ["manifest HEAD", (cost) => cost.manifestHeads],
  ["manifest GET", (cost) => cost.manifestGets],
  ["blob GET", (cost) => cost.blobGets],
  ["other", (cost) => cost.other],
  ["redirect hops", (cost) => cost.hops],
];

const sumOf = (cost: Cost) => COLUMNS.reduce((sum, [, of]) => sum + of(cost), 0);

/** First pull of the registry / pull of another of its repositories. */
const row = (name: string, first: Cost, second: Cost, warm: Cost) =>
  [name, ...COLUMNS.map(([, of]) => `${of(first)} / ${of(second)}`), sumOf(warm)].join(" | ");

using _trust = trustZoo();
const lines = [
  ["registry", ...COLUMNS.map(([title]) => title), "warm, all"].join(" | "),
  ["---", ...COLUMNS.map(() => "--:"), "--:"].join(" | "),
];
for (const { name, variants } of FAMILIES) {
  for (const [variant, open] of Object.entries(variants)) {
    const enclosure = open();
    const { names, stock } = enclosure;
    await using zoo = await Zoo.open(enclosure.houses);
    await using mirror = await mirrorOf(zoo, [enclosure]);
    await pull(mirror, names.first, stock.first);
    const first = costOf(takeVisits(zoo));
    await pull(mirror, names.second, stock.second);
    const second = costOf(takeVisits(zoo));
    await mirror.settled();
    for (const which of ["first", "second"] as const) await pull(mirror, names[which], stock[which]);
    lines.push(row(`${name}, ${variant}`, first, second, costOf(takeVisits(zoo))));
    for (const trespass of zoo.trespasses) process.stderr.write(`${name}, ${variant}: ${trespass}\n`);
    if (zoo.trespasses.length > 0) process.exitCode = 1;
  }
}
process.stdout.write(`${lines.map((line) => `| ${line} |`).join("\n")}\n`);
