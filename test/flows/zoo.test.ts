/**
 * Every family of registries that people pull from, emulated under its own host names: a whole multi-arch image of two
 * repositories cold and warm, what that costs the registry, and what is told of what is not there.
 */
import assert from "node:assert/strict";
import { after, suite } from "node:test";
import { get } from "../kit/http.ts";
import { testInOneProcess } from "../kit/workers.ts";
import { type Enclosure, TAG } from "../kit/zoo/enclosure.ts";
import { FAMILIES } from "../kit/zoo/families.ts";
import { costOf, expectedCost, mirrorOf, pull, takeVisits } from "../kit/zoo/pull.ts";
import { trustZoo, Zoo } from "../kit/zoo/zoo.ts";

const test = testInOneProcess("registries are emulated in the process of the test, which other processes do not reach");
const trust = trustZoo();
after(() => trust[Symbol.dispose]());

// Each visit waits for its own mirror's thread and files most of its time.
suite("every family", { concurrency: 4 }, () => {
  for (const { name, variants } of FAMILIES) {
    for (const [variant, open] of Object.entries(variants)) {
      test(`${name}, ${variant}: pulled cold and warm, every request needed and none twice`, () => visit(open()));
    }
  }
});

async function visit(enclosure: Enclosure): Promise<void> {
  const { names, stock } = enclosure;
  await using zoo = await Zoo.open(enclosure.houses);
  await using mirror = await mirrorOf(zoo, [enclosure]);
  for (const which of ["first", "second"] as const) {
    await pull(mirror, names[which], stock[which]);
    assert.deepEqual(costOf(takeVisits(zoo)), expectedCost(enclosure, which), `cold pull of the ${which}`);
  }
  await mirror.settled();
  for (const which of ["first", "second"] as const) await pull(mirror, names[which], stock[which]);
  assert.deepEqual(takeVisits(zoo), [], "warm pulls");

  const below = `${mirror.url}/v2/${names.first}`;
  const image = stock.first.images[0];
  const layer = image?.layers[2];
  assert.ok(layer);
  const part = await get(`${below}/blobs/${layer.digest}`, { headers: { range: "bytes=70000-79999" } });
  assert.equal(part.status, 206);
  assert.deepEqual(part.body, image?.blobs.get(layer.digest)?.subarray(70_000, 80_000));
  assert.deepEqual(takeVisits(zoo), [], "a range of what is stored");

  const tags = await get(`${below}/tags/list`);
  if (enclosure.tags === false) assert.equal(tags.status, 404);
  else assert.deepEqual(JSON.parse(tags.body.toString()).tags, ["1.26.0", TAG, "latest"]);

  const referrers = await get(`${below}/referrers/${stock.first.digest}`);
  const found = referrers.status === 200 ? JSON.parse(referrers.body.toString()).manifests : [];
  assert.deepEqual(
    found.map(({ digest }: { digest: string }) => digest),
    enclosure.referrers ? [stock.signature.digest] : [],
  );

  for (const path of [`${names.first}/manifests/no-such-tag`, `${names.absent}/manifests/latest`]) {
    const answer = await get(`${mirror.url}/v2/${path}`);
    assert.equal(answer.status, 404, `${path}: ${answer.body}`);
    assert.match(String(answer.headers["content-type"]), /json/);
  }

  // Nobody pulled its manifest: the registry is asked, by HEAD, whatever its signed URLs are good for.
  const lone = await get(`${mirror.url}/v2/${names.lone}/blobs/${stock.loneBlob.digest}`, { method: "HEAD" });
  assert.equal(lone.status, 200);
  assert.equal(lone.headers["content-length"], String(stock.loneBlob.sizeBytes));

  if (enclosure.expireTokens !== undefined) {
    enclosure.expireTokens();
    takeVisits(zoo);
    const other = stock.first.images[1];
    const answer = await get(`${below}/manifests/${other?.digest}`);
    assert.equal(answer.status, 200, `with an expired token: ${answer.body}`);
    const { tokens, challenges, manifestGets } = costOf(takeVisits(zoo));
    const renewal = enclosure.renewal ?? { challenges: 1, tokens: 1 };
    assert.deepEqual({ tokens, challenges, manifestGets }, { ...renewal, manifestGets: 1 });
  }
  assert.deepEqual(zoo.trespasses, []);
}
