import assert from "node:assert/strict";
import { test } from "node:test";
import { VirtualContent } from "./content.ts";
import { get, getHashed } from "./http.ts";
import { makeImage, makeIndex } from "./image.ts";
import { openResources, residueSince } from "./residue.ts";
import { TestUpstream } from "./upstream.ts";

test("the upstream serves an index, its manifests and its blobs, whole and in ranges", async () => {
  await using upstream = await TestUpstream.start();
  const image = makeImage({ layers: [100, 5000] });
  const index = makeIndex([image, makeImage({ seed: 2, architecture: "arm64" })]);
  upstream.shelves.add("library/demo", index, "1");
  const top = await get(`${upstream.url}/v2/library/demo/manifests/1`);
  assert.equal(top.headers["docker-content-digest"], index.digest);
  assert.deepEqual(top.body, index.manifest);
  const digest = image.layers[1]?.digest ?? "";
  const whole = await get(`${upstream.url}/v2/library/demo/blobs/${digest}`);
  assert.equal(whole.body.length, 5000);
  const part = await get(`${upstream.url}/v2/library/demo/blobs/${digest}`, { headers: { range: "bytes=10-19" } });
  assert.equal(part.status, 206);
  assert.equal(part.headers["content-range"], "bytes 10-19/5000");
  assert.deepEqual(part.body, whole.body.subarray(10, 20));
  const beyond = await get(`${upstream.url}/v2/library/demo/blobs/${digest}`, { headers: { range: "bytes=5000-" } });
  assert.equal(beyond.status, 416);
  assert.equal(upstream.count({ kind: "blob", reference: digest, ranged: true }), 2);
});

test("faults: cut, flip, trailing, short, status, html, chunked, each for as many requests as scripted", async () => {
  await using upstream = await TestUpstream.start();
  const image = makeImage({ layers: [200_000] });
  upstream.shelves.add("a/b", image, "1");
  const url = `${upstream.url}/v2/a/b/blobs/${image.layers[0]?.digest}`;
  const bytes = [...image.blobs.values()][0];
  const kind = "blob";
  upstream.fault({ kind }, { cutAfterBytes: 70_000 }, { times: 1 });
  const cut = await get(url);
  assert.deepEqual([cut.complete, cut.body.length], [false, 70_000]);
  assert.equal(upstream.requests.at(-1)?.outcome, "broken by us");
  upstream.fault({ kind }, { flipAtByte: 100_000 }, { times: 1 });
  const flipped = await get(url);
  assert.equal(flipped.body.length, 200_000);
  assert.notEqual(flipped.body[100_000], bytes?.[100_000]);
  upstream.fault({ kind }, { trailingBytes: 3 }, { times: 1 });
  assert.equal((await get(url)).body.length, 200_003);
  upstream.fault({ kind }, { missingBytes: 3 }, { times: 1 });
  const short = await get(url);
  assert.deepEqual([short.complete, short.body.length], [true, 199_997]);
  upstream.fault({ kind }, { status: 429, retryAfter: "7" }, { times: 1 });
  const limited = await get(url);
  assert.deepEqual([limited.status, limited.headers["retry-after"]], [429, "7"]);
  upstream.fault({ kind }, { html: true }, { times: 1 });
  assert.equal((await get(url)).headers["content-type"], "text/html");
  upstream.fault({ kind }, { omitContentLength: true }, { times: 1 });
  const chunked = await get(url);
  assert.deepEqual([chunked.headers["transfer-encoding"], chunked.body.length], ["chunked", 200_000]);
  assert.deepEqual((await get(url)).body, bytes);
});

test("a gate holds a body at its byte until released; throttling takes its time", async () => {
  await using upstream = await TestUpstream.start();
  const image = makeImage({ layers: [50_000] });
  upstream.shelves.add("a/b", image, "1");
  const url = `${upstream.url}/v2/a/b/blobs/${image.layers[0]?.digest}`;
  const gate = upstream.gate({ kind: "blob" }, 10_000);
  const running = get(url);
  await gate.reached;
  assert.equal(upstream.requests[0]?.bodyBytes, 10_000);
  gate.release();
  assert.equal((await running).body.length, 50_000);
  upstream.fault({ kind: "blob" }, { bytesPerSecond: 250_000 });
  const slow = await getHashed(url);
  assert.equal(slow.digest, image.layers[0]?.digest);
  upstream.clearFaults();
});

test("bearer tokens are per repository and the CDN refuses them", async () => {
  await using upstream = await TestUpstream.start({
    auth: { mode: "bearer", username: "u", password: "p" },
    redirectBlobs: true,
  });
  const image = makeImage({ layers: [10] });
  upstream.shelves.add("a/b", image, "1");
  const url = `${upstream.url}/v2/a/b/blobs/${image.layers[0]?.digest}`;
  const refused = await get(url);
  assert.match(refused.headers["www-authenticate"] ?? "", /^Bearer realm=.*scope="repository:a\/b:pull"$/);
  const asked = `${upstream.realm}?service=test&scope=${encodeURIComponent("repository:a/b:pull")}`;
  assert.equal((await get(asked)).status, 401);
  const reply = await get(asked, { headers: { authorization: `Basic ${Buffer.from("u:p").toString("base64")}` } });
  const { token } = JSON.parse(reply.body.toString()) as { token: string };
  const authorization = `Bearer ${token}`;
  const moved = await get(url, { headers: { authorization } });
  assert.equal(moved.status, 307);
  assert.equal((await get(moved.headers.location ?? "", { headers: { authorization } })).status, 400);
  assert.equal((await get(moved.headers.location ?? "")).body.length, 10);
  assert.equal((await get(`${upstream.url}/v2/c/d/tags/list`, { headers: { authorization } })).status, 401);
  assert.equal(upstream.tokens.requests.length, 2);
});

test("tags come in pages, referrers by subject", async () => {
  await using upstream = await TestUpstream.start({ pageSize: 2 });
  const image = makeImage({ layers: [10] });
  for (const tag of ["c", "a", "b"]) upstream.shelves.add("a/b", image, tag);
  const first = await get(`${upstream.url}/v2/a/b/tags/list`);
  assert.deepEqual(JSON.parse(first.body.toString()).tags, ["a", "b"]);
  assert.equal(first.headers.link, '</v2/a/b/tags/list?n=2&last=b>; rel="next"');
  const signature = makeImage({ layers: [20], subject: image.descriptor, artifactType: "application/x-signature" });
  upstream.shelves.add("a/b", signature);
  const referrers = await get(`${upstream.url}/v2/a/b/referrers/${image.digest}`);
  assert.equal(JSON.parse(referrers.body.toString()).manifests[0].digest, signature.digest);
});

test("a large blob costs no memory, and a stalled answer nothing after close", async () => {
  const baseline = openResources();
  const upstream = await TestUpstream.start();
  const content = new VirtualContent(64 * 1024 * 1024, 9);
  upstream.shelves.addBlob("a/b", content);
  const url = `${upstream.url}/v2/a/b/blobs/${content.digest}`;
  assert.equal((await getHashed(url)).digest, content.digest);
  upstream.fault({ kind: "blob" }, { stallAfterBytes: 1000 });
  const stalled = getHashed(url);
  await upstream.waitFor((request) => request.bodyBytes === 1000);
  await upstream.close();
  assert.equal((await stalled).complete, false);
  assert.deepEqual(await residueSince(baseline), []);
});

test("an upstream that was closed comes up again where it was, and can be closed again", async () => {
  const baseline = openResources();
  const upstream = await TestUpstream.start();
  const digest = upstream.shelves.addBlob("a/b", Buffer.from("kept"));
  const url = `${upstream.url}/v2/a/b/blobs/${digest}`;
  await upstream.close();
  assert.notEqual((await get(url)).status, 200);
  await upstream.reopen();
  assert.equal((await get(url)).body.toString(), "kept");
  await upstream.close();
  assert.deepEqual(await residueSince(baseline), []);
});
