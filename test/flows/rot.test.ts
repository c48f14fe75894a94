/** Stored bytes that change on disk: whoever reads them is cut off, and the next one gets the right ones. */
import assert from "node:assert/strict";
import { chmod, stat, truncate } from "node:fs/promises";
import type { IncomingMessage } from "node:http";
import { join } from "node:path";
import test from "node:test";
import { algorithmOf, type Digest, hexOf } from "../../src/oci/digest.ts";
import { VirtualContent } from "../kit/content.ts";
import { get, getHashed, open } from "../kit/http.ts";
import { makeImage } from "../kit/image.ts";
import { TestMirror } from "../kit/mirror.ts";
import { TestUpstream } from "../kit/upstream.ts";
import { flip } from "../upkeep/scrub-scene.ts";

const MIB = 1024 * 1024;
const content = new VirtualContent(48 * MIB, 7);

const fileOf = (mirror: TestMirror, digest: Digest) =>
  join(mirror.dir, "v1", "blobs", algorithmOf(digest), hexOf(digest).slice(0, 2), hexOf(digest));

/** The events of a scrub that is asked for over HTTP. */
async function scrub(mirror: TestMirror, input: object = { bandwidth: null }) {
  const answer = await get(`${mirror.adminUrl}/api/v1/scrub`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(input),
  });
  const lines = answer.body
    .toString()
    .split("\n")
    .filter((line) => line !== "");
  const events = lines.map((line) => JSON.parse(line));
  return { status: answer.status, events, result: events.at(-1)?.result };
}

/** Reads what is left. */
async function rest(answer: IncomingMessage): Promise<{ bytes: number; complete: boolean }> {
  let bytes = 0;
  try {
    for await (const chunk of answer as AsyncIterable<Buffer>) bytes += chunk.length;
  } catch {
    // Told by `complete`.
  }
  return { bytes, complete: answer.complete };
}

for (const sendfile of [true, false]) {
  const how = sendfile ? "with sendfile" : "without sendfile";

  test(`a body that is being sent is cut when its blob is found damaged, and fetched again, ${how}`, async () => {
    await using upstream = await TestUpstream.start();
    upstream.shelves.addBlob("library/demo", content);
    await using mirror = await TestMirror.start({ upstreams: { "docker.io": upstream }, config: { sendfile } });
    const url = `${mirror.url}/v2/demo/blobs/${content.digest}`;
    await getHashed(url);
    await mirror.settled();
    const slow = await open(url);
    slow.pause();
    await flip(fileOf(mirror, content.digest), 44 * MIB);
    const { result, events } = await scrub(mirror);
    assert.equal(result.damaged, 1);
    assert.equal(events.filter(({ event }) => event === "damage").length, 1);
    const { bytes, complete } = await rest(slow);
    assert.equal(complete, false);
    assert.ok(bytes < 44 * MIB, `${bytes} bytes came`);
    const again = await getHashed(url);
    assert.equal(again.digest, content.digest);
    assert.equal(upstream.matching({ kind: "blob", method: "GET" }).length >= 2, true);
    await mirror.settled();
    assert.equal((await scrub(mirror)).result.damaged, 0);
  });
}

test("who meets the end of a lost file late leaves alone what was stored since", async () => {
  await using upstream = await TestUpstream.start();
  upstream.shelves.addBlob("library/demo", content);
  await using mirror = await TestMirror.start({ upstreams: { "docker.io": upstream } });
  const url = `${mirror.url}/v2/demo/blobs/${content.digest}`;
  await getHashed(url);
  await mirror.settled();
  const readers = [await open(url), await open(url)];
  for (const reader of readers) reader.pause();
  const path = fileOf(mirror, content.digest);
  await chmod(path, 0o644);
  await truncate(path, 40 * MIB);
  const asked: number[] = [];
  for (const reader of readers) {
    assert.deepEqual(await rest(reader), { bytes: content.sizeBytes, complete: true });
    assert.equal((await getHashed(url)).digest, content.digest);
    await mirror.settled();
    asked.push(upstream.count({ kind: "blob", method: "GET" }));
  }
  assert.equal((await stat(path)).size, content.sizeBytes);
  assert.equal((await getHashed(url)).headers["cache-status"], "wharfinger; hit");
  // The second needed the rest of his own body, and no more.
  assert.ok((asked[1] ?? 0) <= (asked[0] ?? 0) + 1, asked.join());
});

test("who still reads a blob as the fill that stored it is cut as well", async () => {
  await using upstream = await TestUpstream.start();
  upstream.shelves.addBlob("library/demo", content);
  await using mirror = await TestMirror.start({ upstreams: { "docker.io": upstream } });
  const url = `${mirror.url}/v2/demo/blobs/${content.digest}`;
  const slow = await open(url);
  slow.pause();
  await getHashed(url);
  await mirror.settled();
  await flip(fileOf(mirror, content.digest), 44 * MIB);
  assert.equal((await scrub(mirror)).result.damaged, 1);
  const { bytes, complete } = await rest(slow);
  assert.equal(complete, false);
  assert.ok(bytes < 44 * MIB, `${bytes} bytes came`);
  assert.equal((await getHashed(url)).digest, content.digest);
});

test("a manifest that is damaged on disk is fetched again, though it was in memory; its metrics are told", async () => {
  await using upstream = await TestUpstream.start();
  const image = makeImage();
  upstream.shelves.add("library/demo", image, "latest");
  await using mirror = await TestMirror.start({ upstreams: { "docker.io": upstream } });
  const url = `${mirror.url}/v2/demo/manifests/${image.digest}`;
  const first = await get(url);
  assert.equal(first.status, 200);
  await flip(fileOf(mirror, image.digest), 10);
  assert.equal((await scrub(mirror)).result.damaged, 1);
  const asked = upstream.matching({ kind: "manifest", method: "GET" }).length;
  const again = await get(url);
  assert.deepEqual(again.body, first.body);
  assert.equal(upstream.matching({ kind: "manifest", method: "GET" }).length, asked + 1);
  const metrics = (await get(`${mirror.adminUrl}/metrics`)).body.toString();
  assert.match(metrics, /^wharfinger_blobs_damaged_total\{damage="digest"\} 1$/m);
  assert.match(metrics, /^wharfinger_scrub_last_damaged_blobs 1$/m);
  assert.match(metrics, /^wharfinger_scrub_last_run_timestamp_seconds 1\d{9}/m);
});
