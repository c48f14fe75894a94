/**
 * What every family of registries says to wrong passwords and to who asks too often, and what of it reaches clients.
 */
import assert from "node:assert/strict";
import nodeTest, { after } from "node:test";
import { ManualClock } from "../kit/clock.ts";
import { get } from "../kit/http.ts";
import { TEST_WORKERS } from "../kit/mirror.ts";
import { testInOneProcess } from "../kit/workers.ts";
import { type Enclosure, TAG } from "../kit/zoo/enclosure.ts";
import { FAMILIES } from "../kit/zoo/families.ts";
import { mirrorOf, pull, takeVisits } from "../kit/zoo/pull.ts";
import type { Account } from "../kit/zoo/visit.ts";
import { trustZoo, Zoo } from "../kit/zoo/zoo.ts";

const test = testInOneProcess("registries are emulated in the process of the test, which other processes do not reach");
const trust = trustZoo();
after(() => trust[Symbol.dispose]());

for (const { name, variants } of FAMILIES) {
  for (const [variant, open] of Object.entries(variants)) {
    const { account, tokens } = open();
    if (account === undefined) continue;
    const title = `${name}, ${variant}: a wrong password is our trouble, and is not shown again and again`;
    const wrong = { username: account.username, password: "wrong" };
    if ("all" in tokens || tokens.each > 0 || TEST_WORKERS > 1) test(title, () => refused(open(), wrong));
    else
      nodeTest(title, { todo: "who takes passwords itself is shown a refused one again" }, () =>
        refused(open(), wrong),
      );
  }
}

async function refused(enclosure: Enclosure, account: Account): Promise<void> {
  const { names, wrongPassword = 502 } = enclosure;
  await using zoo = await Zoo.open(enclosure.houses);
  await using mirror = await mirrorOf(zoo, [enclosure], { account });
  const url = `${mirror.url}/v2/${names.first}/manifests/${TAG}`;
  const shown = () => takeVisits(zoo).filter(({ headers }) => headers.authorization !== undefined).length;
  const answer = await get(url);
  assert.equal(answer.status, wrongPassword, String(answer.body));
  assert.equal(shown(), 1);
  assert.equal((await get(url)).status, wrongPassword);
  assert.equal(shown(), 0);
}

for (const { name, variants } of FAMILIES) {
  const [open] = Object.values(variants);
  if (open === undefined || open().exhaust === undefined) continue;
  test(`${name}: over its limit, what is stored is served and the rest is 429`, async () => {
    const enclosure = open();
    const { names, stock } = enclosure;
    await using zoo = await Zoo.open(enclosure.houses);
    const clock = new ManualClock();
    await using mirror = await mirrorOf(zoo, [enclosure], { clock });
    await pull(mirror, names.first, stock.first);
    enclosure.exhaust?.();
    const missing = await get(`${mirror.url}/v2/${names.second}/manifests/${stock.second.digest}`);
    assert.equal(missing.status, 429, String(missing.body));
    const [error] = JSON.parse(missing.body.toString()).errors;
    assert.equal(error.code, "TOOMANYREQUESTS");
    assert.doesNotMatch(missing.body.toString(), /</, "no page of HTML in it");
    await clock.advance(2 * 3_600_000);
    const stale = await get(`${mirror.url}/v2/${names.first}/manifests/${TAG}`);
    assert.equal(stale.status, 200);
    assert.deepEqual(stale.body, stock.first.manifest);
    assert.deepEqual(zoo.trespasses, []);
  });
}
