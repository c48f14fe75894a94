/**
 * The cache never grows past its limit, whatever the upstream says or does not say of sizes.
 */
import assert from "node:assert/strict";
import test from "node:test";
import { seededBytes, VirtualContent } from "../kit/content.ts";
import { getHashed } from "../kit/http.ts";
import { makeImage } from "../kit/image.ts";
import { TestMirror } from "../kit/mirror.ts";
import { TestUpstream } from "../kit/upstream.ts";

const MIB = 1024 * 1024;
const small = { cache: { maxSize: "10MiB" } };

async function storedBytes(mirror: TestMirror): Promise<number> {
  const { text } = await (await fetch(`${mirror.adminUrl}/metrics`)).text().then((text) => ({ text }));
  return Number(/wharfinger_cache_size_bytes (\d+)/.exec(text)?.[1]);
}

test("a blob larger than the cache, of whose size nobody has told, is passed through whole", async () => {
  const content = new VirtualContent(40 * MIB, 91);
  await using upstream = await TestUpstream.start();
  upstream.shelves.addBlob("library/demo", content);
  await using mirror = await TestMirror.start({ upstreams: { "docker.io": upstream }, config: small });
  const answer = await getHashed(`${mirror.url}/v2/demo/blobs/${content.digest}`);
  assert.equal(answer.digest, content.digest);
  assert.equal(answer.headers["cache-status"], "wharfinger; fwd=bypass; detail=cache-full");
  await mirror.settled();
  assert.deepEqual(await mirror.stored(), []);
});

test("several blobs at once do not grow past it together, and all are served", async () => {
  await using upstream = await TestUpstream.start();
  const contents = Array.from({ length: 5 }, (_, at) => new VirtualContent(4 * MIB, 92 + at));
  for (const content of contents) upstream.shelves.addBlob("library/demo", content);
  await using mirror = await TestMirror.start({ upstreams: { "docker.io": upstream }, config: small });
  const answers = await Promise.all(contents.map(({ digest }) => getHashed(`${mirror.url}/v2/demo/blobs/${digest}`)));
  assert.deepEqual(
    answers.map(({ digest }) => digest),
    contents.map(({ digest }) => digest),
  );
  await mirror.settled();
  assert.equal(await storedBytes(mirror), 8 * MIB);
});

test("an upstream that sends for ever and never said how much is stopped at the limit", async () => {
  const content = new VirtualContent(64 * MIB, 97);
  await using upstream = await TestUpstream.start();
  upstream.shelves.addBlob("library/demo", content);
  upstream.fault({ kind: "blob" }, { omitContentLength: true });
  await using mirror = await TestMirror.start({ upstreams: { "docker.io": upstream }, config: small });
  const answer = await getHashed(`${mirror.url}/v2/demo/blobs/${content.digest}`);
  assert.ok(answer.status >= 500);
  await mirror.settled();
  assert.deepEqual(await mirror.stored(), []);
  assert.ok(
    upstream.requests.every((request) => request.bodyBytes < 40 * MIB),
    "it was not read to its end",
  );
});

test("manifests count too", async () => {
  await using upstream = await TestUpstream.start();
  const { makeImage } = await import("../kit/image.ts");
  const image = makeImage({ seed: 98, annotations: { filler: seededBytes(3000).toString("hex") } });
  upstream.shelves.add("library/demo", image, "1");
  await using mirror = await TestMirror.start({
    upstreams: { "docker.io": upstream },
    config: { cache: { maxSize: 100 } },
  });
  const answer = await getHashed(`${mirror.url}/v2/demo/manifests/1`);
  assert.equal(answer.digest, image.digest);
  assert.match(String(answer.headers["cache-status"]), /^wharfinger; fwd=bypass; detail=/);
  assert.deepEqual(await mirror.stored(), []);
});

for (const workers of [1, 2]) {
  test(`while the upstream keeps us waiting nothing is sent for what there is no room for either, with ${workers} of us`, async () => {
    await using upstream = await TestUpstream.start();
    const content = new VirtualContent(4 * MIB, 99);
    const image = makeImage({ layers: [content] });
    upstream.shelves.add("library/demo", image, "1");
    const config = { cache: { maxSize: "1MiB" }, workers };
    await using mirror = await TestMirror.start({ upstreams: { "docker.io": upstream }, config });
    const pull = () => getHashed(`${mirror.url}/v2/demo/blobs/${content.digest}`);
    // Its size is known from then on.
    assert.equal((await getHashed(`${mirror.url}/v2/demo/manifests/1`)).status, 200);
    assert.equal((await pull()).digest, content.digest);
    upstream.fault({}, { status: 429, retryAfter: "60" });
    assert.equal((await getHashed(`${mirror.url}/v2/demo/manifests/2`)).status, 429);
    upstream.forgetRequests();
    const statuses = new Set<number>();
    for (let at = 0; at < 4; at++) statuses.add((await pull()).status);
    assert.deepEqual([...statuses], [429]);
    assert.equal(upstream.requests.length, 0);
  });
}
