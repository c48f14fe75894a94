/**
 * Several places with the same content: the first that answers is asked, and one that answers again is asked again.
 */
import assert from "node:assert/strict";
import test from "node:test";
import { seededBytes } from "../kit/content.ts";
import { get } from "../kit/http.ts";
import { makeImage } from "../kit/image.ts";
import { TestMirror } from "../kit/mirror.ts";
import { TestUpstream } from "../kit/upstream.ts";

const MIB = 1024 * 1024;
const images = Array.from({ length: 12 }, (_, seed) => makeImage({ seed, layers: [1000] }));

interface Pair {
  readonly one: TestUpstream;
  readonly two: TestUpstream;
  readonly mirror: TestMirror;
}

async function paired(run: (pair: Pair) => Promise<void>): Promise<void> {
  await using one = await TestUpstream.start();
  await using two = await TestUpstream.start();
  for (const upstream of [one, two]) {
    for (const [at, image] of images.entries()) upstream.shelves.add("library/demo", image, `v${at}`);
  }
  const each = { "docker.io": { endpoints: [two.url] } };
  await using mirror = await TestMirror.start({ upstreams: { "docker.io": one }, each });
  await run({ one, two, mirror });
}

test("the second endpoint is not asked while the first answers, with whatever it answers", async () => {
  await paired(async ({ one, two, mirror }) => {
    assert.equal((await get(`${mirror.url}/v2/library/demo/manifests/v0`)).status, 200);
    assert.equal((await get(`${mirror.url}/v2/library/demo/manifests/nothing`)).status, 404);
    one.fault({ kind: "manifest" }, { status: 401 });
    assert.equal((await get(`${mirror.url}/v2/library/demo/manifests/v1`)).status, 404);
    assert.equal(two.requests.length, 0);
  });
});

for (const [how, fault] of [
  ["closes connections", { dropConnection: true }],
  ["answers 503", { status: 503 }],
  ["answers 502 with a page", { status: 502, html: true }],
] as const) {
  test(`an endpoint that ${how} is passed over for the next, and soon not asked at all`, async () => {
    await paired(async ({ one, two, mirror }) => {
      one.fault({}, fault);
      for (const [at, image] of images.entries()) {
        const answer = await get(`${mirror.url}/v2/library/demo/manifests/v${at}`);
        assert.equal(answer.status, 200, answer.body.toString());
        assert.deepEqual(answer.body, image.manifest);
      }
      assert.ok(one.requests.length < 12, `${one.requests.length} requests to the ill one`);
      // HEAD and GET of each.
      assert.equal(two.count({ kind: "manifest" }), 24);
    });
  });
}

test("the first endpoint is asked again when it answers again", async () => {
  await paired(async ({ one, two, mirror }) => {
    const heal = one.fault({}, { dropConnection: true });
    for (const at of [0, 1, 2, 3]) {
      assert.equal((await get(`${mirror.url}/v2/library/demo/manifests/v${at}`)).status, 200);
    }
    heal();
    const asked = one.requests.length;
    await mirror.until(async () => {
      await get(`${mirror.url}/v2/library/demo/manifests/unknown${Math.random()}`.toLowerCase());
      return one.requests.length > asked;
    }, "the first endpoint is never asked again");
    two.forgetRequests();
    assert.equal((await get(`${mirror.url}/v2/library/demo/manifests/v5`)).status, 200);
    assert.equal(two.requests.length, 0);
  });
});

test("a body that breaks off where its endpoint goes away is continued at the next, from the byte that came", async () => {
  await paired(async ({ one, two, mirror }) => {
    const layer = seededBytes(8 * MIB, 9);
    const image = makeImage({ layers: [layer] });
    for (const upstream of [one, two]) upstream.shelves.add("library/large", image, "1");
    const [descriptor] = image.layers;
    assert.ok(descriptor !== undefined);
    one.fault({ kind: "blob", reference: descriptor.digest }, { cutAfterBytes: 5 * MIB }, { times: 1 });
    one.fault({ kind: "blob", ranged: true }, { dropConnection: true });
    const answer = await get(`${mirror.url}/v2/library/large/blobs/${descriptor.digest}`);
    assert.equal(answer.status, 200);
    assert.ok(answer.complete);
    assert.equal(answer.body.compare(layer), 0);
    const [rest] = two.matching({ kind: "blob" });
    assert.match(rest?.headers.range ?? "", /^bytes=[1-9]\d*-/);
    const brought = [one, two].flatMap((upstream) => upstream.matching({ kind: "blob" }));
    const bytes = brought.reduce((sum, { bodyBytes }) => sum + bodyBytes, 0);
    assert.ok(bytes <= 8 * MIB * 1.1, `${bytes} bytes came`);
    await mirror.settled();
  });
});

test("where no endpoint answers, the client is told of it, and nothing is left", async () => {
  await paired(async ({ one, two, mirror }) => {
    for (const upstream of [one, two]) upstream.fault({}, { dropConnection: true });
    const answer = await get(`${mirror.url}/v2/library/demo/manifests/v0`);
    assert.equal(answer.status, 502);
    assert.match(answer.body.toString(), /closed the connection|does not answer/);
    assert.ok(one.requests.length > 0 && two.requests.length > 0);
    assert.deepEqual(await mirror.partials(), []);
  });
});
