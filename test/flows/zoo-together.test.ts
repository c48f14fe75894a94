/**
 * Registries of every family behind one mirror at once: nobody's password or token reaches another. And what their storage
 * breaks off is taken up again by way of the registry, which signs anew.
 */
import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after } from "node:test";
import { digestOf } from "../../src/oci/digest.ts";
import { get } from "../kit/http.ts";
import { makeTempDir } from "../kit/temp.ts";
import { testInOneProcess } from "../kit/workers.ts";
import type { Enclosure } from "../kit/zoo/enclosure.ts";
import { FAMILIES } from "../kit/zoo/families.ts";
import { type Cost, costOf, expectedCost, mirrorOf, pull, takeVisits } from "../kit/zoo/pull.ts";
import { trustZoo, Zoo } from "../kit/zoo/zoo.ts";

const test = testInOneProcess("registries are emulated in the process of the test, which other processes do not reach");
const trust = trustZoo();
after(() => trust[Symbol.dispose]());

/** The user name that ACR takes a refresh token as a password of. */
const NO_ONE = "00000000-0000-0000-0000-000000000000";

/** One of each family whose hosts no other has, with an account where it knows any. */
function oneOfEach(isWanted: (enclosure: Enclosure) => boolean): Enclosure[] {
  const chosen: Enclosure[] = [];
  const taken = new Set<string>();
  for (const { variants } of FAMILIES) {
    const all = Object.values(variants).map((open) => open());
    const free = all.filter(({ houses }) => houses.every(({ host }) => !taken.has(host)));
    const one = free.find(isWanted) ?? free.find(({ account }) => account !== undefined) ?? free[0];
    if (one === undefined) continue;
    chosen.push(one);
    for (const { host } of one.houses) taken.add(host);
  }
  assert.ok(chosen.length >= 14, `only ${chosen.length} have hosts of their own`);
  return chosen;
}

async function pullFromAll(enclosures: readonly Enclosure[]): Promise<void> {
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
}

test("registries of all families, each with its account, are pulled from at once by one mirror", async () => {
  await pullFromAll(oneOfEach(() => false));
});

/** With the accounts of all of them in one file, as `docker login` writes it. */
async function pullByDockerConfig(enclosures: readonly Enclosure[]): Promise<void> {
  await using home = await makeTempDir("zoo-home");
  const dockerConfig = join(home.path, "config.json");
  const auths: Record<string, object> = {};
  for (const { upstream, account } of enclosures) {
    if (account === undefined) continue;
    const { username, password } = account;
    const auth = Buffer.from(`${username}:${password}`).toString("base64");
    const server = upstream === "docker.io" ? "https://index.docker.io/v1/" : upstream;
    auths[server] = username === NO_ONE ? { auth: "", identitytoken: password } : { auth };
  }
  await writeFile(dockerConfig, JSON.stringify({ auths }));
  await pullFromAll(enclosures.map((enclosure) => ({ ...enclosure, credentials: [{ dockerConfig }] })));
}

test("all accounts in one config.json of Docker's: each registry is shown its own", async () => {
  await pullByDockerConfig(oneOfEach(() => false));
});

test("an identity token in config.json is exchanged for a token by POST", async () => {
  await pullByDockerConfig(oneOfEach(({ account }) => account?.username === NO_ONE));
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
