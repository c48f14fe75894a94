/**
 * Registries of every family behind one mirror at once: nobody's password or token reaches another. And what their storage
 * breaks off is taken up again by way of the registry, which signs anew.
 */
import assert from "node:assert/strict";
import { after } from "node:test";
import { digestOf } from "../../src/oci/digest.ts";
import { get } from "../kit/http.ts";
import { testInOneProcess } from "../kit/workers.ts";
import type { Enclosure } from "../kit/zoo/enclosure.ts";
import { FAMILIES } from "../kit/zoo/families.ts";
import { type Cost, costOf, expectedCost, mirrorOf, pull, takeVisits } from "../kit/zoo/pull.ts";
import { trustZoo, Zoo } from "../kit/zoo/zoo.ts";

const test = testInOneProcess("registries are emulated in the process of the test, which other processes do not reach");
const trust = trustZoo();
after(() => trust[Symbol.dispose]());

/** One of each family whose hosts no other has, with an account where it knows any. */
function oneOfEach(): Enclosure[] {
  const chosen: Enclosure[] = [];
  const taken = new Set<string>();
  for (const { variants, todo = {} } of FAMILIES) {
    const all = Object.entries(variants).flatMap(([name, open]) => (name in todo ? [] : [open()]));
    const free = all.filter(({ houses }) => houses.every(({ host }) => !taken.has(host)));
    const one = free.find(({ account }) => account !== undefined) ?? free[0];
    if (one === undefined) continue;
    chosen.push(one);
    for (const { host } of one.houses) taken.add(host);
  }
  return chosen;
}

test("registries of all families, each with its account, are pulled from at once by one mirror", async () => {
  const enclosures = oneOfEach();
  assert.ok(enclosures.length >= 14, `only ${enclosures.length} have hosts of their own`);
  await using zoo = await Zoo.open(enclosures.flatMap(({ houses }) => houses));
  await using mirror = await mirrorOf(zoo, enclosures);
  await Promise.all(
    enclosures.map(({ upstream, names, stock }) => pull(mirror, `${upstream}/${names.first}`, stock.first)),
  );
  assert.deepEqual(zoo.trespasses, []);
  const visits = takeVisits(zoo);
  for (const enclosure of enclosures) {
    const hosts = new Set(enclosure.houses.map(({ host }) => host));
    const cost: Cost = costOf(visits.filter(({ host }) => hosts.has(host)));
    assert.deepEqual(cost, expectedCost(enclosure, "first"), enclosure.upstream);
  }
});

test("a blob that breaks off in the storage of any of them is taken up by a URL signed anew", async () => {
  const stored = FAMILIES.map(({ variants }) => Object.values(variants).find((open) => open().storage !== undefined));
  const opened = stored.filter((open) => open !== undefined);
  assert.ok(opened.length >= 12);
  await Promise.all(opened.map((open) => resumed(open())));
});

async function resumed(enclosure: Enclosure): Promise<void> {
  const { upstream, names, stock, storage } = enclosure;
  await using zoo = await Zoo.open(enclosure.houses);
  await using mirror = await mirrorOf(zoo, [enclosure]);
  storage?.breakNext(2_000);
  const { body, status } = await get(`${mirror.url}/v2/${names.lone}/blobs/${stock.loneBlob.digest}`);
  assert.equal(status, 200, `${upstream}: ${body}`);
  assert.equal(digestOf(body), stock.loneBlob.digest, upstream);
  const bodies = zoo.visits.filter(({ kind, method }) => kind === "storage" && method === "GET");
  const ranges = bodies.map(({ headers }) => headers.range);
  assert.deepEqual(ranges, [undefined, "bytes=2000-"], upstream);
  assert.deepEqual(zoo.trespasses, []);
}
