/**
 * What every family of registries says to wrong passwords and to who asks too often, and what of it reaches clients.
 */
import assert from "node:assert/strict";
import { after, suite } from "node:test";
import { ManualClock } from "../kit/clock.ts";
import { get } from "../kit/http.ts";
import { testInOneProcess } from "../kit/workers.ts";
import { type Enclosure, TAG } from "../kit/zoo/enclosure.ts";
import { dockerHub } from "../kit/zoo/families/docker-hub.ts";
import { FAMILIES } from "../kit/zoo/families.ts";
import { mirrorOf, pull, takeVisits } from "../kit/zoo/pull.ts";
import type { Account } from "../kit/zoo/visit.ts";
import { trustZoo, Zoo } from "../kit/zoo/zoo.ts";

const test = testInOneProcess("registries are emulated in the process of the test, which other processes do not reach");
const trust = trustZoo();
after(() => trust[Symbol.dispose]());

suite("a wrong password", { concurrency: 4 }, () => {
  for (const { name, variants } of FAMILIES) {
    for (const [variant, open] of Object.entries(variants)) {
      const { account } = open();
      if (account === undefined) continue;
      test(`${name}, ${variant}: a wrong password is our trouble, and is not shown again and again`, () =>
        refused(open(), { username: account.username, password: "wrong" }));
    }
  }
});

async function refused(enclosure: Enclosure, account: Account): Promise<void> {
  const { names, wrongPasswordShown = 1 } = enclosure;
  await using zoo = await Zoo.open(enclosure.houses);
  await using mirror = await mirrorOf(zoo, [enclosure], { account });
  const url = `${mirror.url}/v2/${names.first}/manifests/${TAG}`;
  const shown = () => takeVisits(zoo).filter(({ headers }) => headers.authorization !== undefined).length;
  const answer = await get(url);
  assert.equal(answer.status, 502, String(answer.body));
  assert.equal(shown(), wrongPasswordShown);
  assert.equal((await get(url)).status, 502);
  assert.equal(shown(), 0);
}

suite("over the limit", { concurrency: 4 }, () => {
  for (const { name, variants } of FAMILIES) {
    const [open] = Object.values(variants);
    if (open === undefined || open().exhaust === undefined) continue;
    test(`${name}: over its limit, what is stored is served and the rest is 429`, () => overLimit(open()));
  }
});

async function overLimit(enclosure: Enclosure): Promise<void> {
  const { names, stock } = enclosure;
  await using zoo = await Zoo.open(enclosure.houses);
  const clock = new ManualClock();
  await using mirror = await mirrorOf(zoo, [enclosure], { clock });
  await pull(mirror, names.first, stock.first);
  enclosure.exhaust?.();
  const missing = await inTime(clock, get(`${mirror.url}/v2/${names.second}/manifests/${stock.second.digest}`));
  assert.equal(missing.status, 429, String(missing.body));
  const [error] = JSON.parse(missing.body.toString()).errors;
  assert.equal(error.code, "TOOMANYREQUESTS");
  assert.doesNotMatch(missing.body.toString(), /</, "no page of HTML in it");
  await clock.advance(2 * 3_600_000);
  const stale = await inTime(clock, get(`${mirror.url}/v2/${names.first}/manifests/${TAG}`));
  assert.equal(stale.status, 200);
  assert.deepEqual(stale.body, stock.first.manifest);
  assert.deepEqual(zoo.trespasses, []);
}

test("Docker Hub: what is left is known after each pull: manifests count, looking and layers do not", async () => {
  for (const [account, limit] of [
    ["anonymous", 100],
    ["acmebot", 200],
  ] as const) {
    const variant = account === "anonymous" ? account : "personal access token";
    const enclosure = dockerHub.variants[variant]?.() ?? assert.fail();
    await using zoo = await Zoo.open(enclosure.houses);
    await using mirror = await mirrorOf(zoo, [enclosure]);
    const left = async () => {
      const metrics = (await get(`${mirror.adminUrl}/metrics`)).body.toString();
      const sample = metrics.split("\n").find((line) => /^wharfinger_ratelimit_remaining\{.*docker\.io/.test(line));
      assert.match(String(sample), new RegExp(`account="${account}"`));
      return Number(sample?.split(" ").at(-1));
    };
    await pull(mirror, enclosure.names.first, enclosure.stock.first);
    assert.equal(await left(), limit - 2);
    await pull(mirror, enclosure.names.second, enclosure.stock.second);
    assert.equal(await left(), limit - 4);
    await pull(mirror, enclosure.names.second, enclosure.stock.second);
    assert.equal(await left(), limit - 4);
  }
});

/** The mirror waits by its clock and asks again, where a wait is a short one. */
async function inTime<T>(clock: ManualClock, answer: Promise<T>): Promise<T> {
  let pending = true;
  const ended = answer.finally(() => {
    pending = false;
  });
  while (pending) {
    await Promise.race([ended, new Promise((resolve) => setTimeout(resolve, 20))]);
    if (pending) await clock.advance(250);
  }
  return await ended;
}
