/**
 * Many clients, one blob: one upstream request, right bytes for everyone, whoever leaves.
 */
import assert from "node:assert/strict";
import test from "node:test";
import { VirtualContent } from "../kit/content.ts";
import { get, getHashed } from "../kit/http.ts";
import { makeImage } from "../kit/image.ts";
import { TestMirror } from "../kit/mirror.ts";
import { openResources, residueSince } from "../kit/residue.ts";
import { TestUpstream } from "../kit/upstream.ts";

const MIB = 1024 * 1024;

test("clients that ask for one cold blob at once, or join halfway, cost one upstream request", async () => {
  const content = new VirtualContent(24 * MIB, 3);
  await using upstream = await TestUpstream.start();
  upstream.shelves.addBlob("library/demo", content);
  await using mirror = await TestMirror.start({ upstreams: { "docker.io": upstream } });
  const url = `${mirror.url}/v2/library/demo/blobs/${content.digest}`;
  const halfway = upstream.gate({ kind: "blob" }, 12 * MIB);

  const early = Array.from({ length: 20 }, () => getHashed(url));
  await halfway.reached;
  const late = Array.from({ length: 20 }, () => getHashed(url));
  // All the late ones have joined when they have seen a byte.
  await mirror.until(() => mirror.mirror.notices !== undefined && upstream.count({ kind: "blob" }) === 1, "no request");
  halfway.release();
  const answers = await Promise.all([...early, ...late]);
  for (const answer of answers) {
    assert.equal(answer.digest, content.digest);
    assert.ok(answer.complete);
  }
  assert.equal(upstream.count({ method: "GET", kind: "blob" }), 1);
  const verdicts = answers.map((answer) => answer.headers["cache-status"]);
  assert.equal(verdicts.filter((verdict) => verdict === "wharfinger; fwd=miss; fwd-status=200; stored").length, 1);
  assert.ok(verdicts.filter((verdict) => verdict === "wharfinger; fwd=miss; collapsed").length >= 20);
});

test("a follower sees what is written while the fill is held, and never the last 64 KiB before verification", async () => {
  const content = new VirtualContent(4 * MIB, 4);
  await using upstream = await TestUpstream.start();
  upstream.shelves.addBlob("library/demo", content);
  await using mirror = await TestMirror.start({ upstreams: { "docker.io": upstream } });
  const url = `${mirror.url}/v2/library/demo/blobs/${content.digest}`;
  const gate = upstream.gate({ kind: "blob" }, content.sizeBytes - 1000);
  const slice = await get(url, { headers: { Range: "bytes=1000000-1999999" } });
  assert.equal(slice.status, 206);
  assert.deepEqual(slice.body, Buffer.concat([...content.read(1_000_000, 2_000_000)]));
  await gate.reached;
  const tail = getHashed(url, { headers: { Range: `bytes=${content.sizeBytes - 65_536}-` } });
  const first = await Promise.race([tail, new Promise((resolve) => setTimeout(() => resolve("nothing yet"), 200))]);
  assert.equal(first, "nothing yet");
  gate.release();
  assert.equal((await tail).sizeBytes, 65_536);
  assert.equal(upstream.count({ method: "GET", kind: "blob" }), 1);
});

test("clients that leave, the first one included, disturb nobody; slow ones hold nobody back", async () => {
  const content = new VirtualContent(16 * MIB, 5);
  await using upstream = await TestUpstream.start();
  upstream.shelves.addBlob("library/demo", content);
  await using mirror = await TestMirror.start({ upstreams: { "docker.io": upstream } });
  const url = `${mirror.url}/v2/library/demo/blobs/${content.digest}`;
  const gate = upstream.gate({ kind: "blob" }, 4 * MIB);
  const leaver = getHashed(url, { leaveAfterBytes: MIB });
  const slow = getHashed(url, { bytesPerSecond: 20 * MIB });
  const others = Array.from({ length: 5 }, () => getHashed(url));
  await leaver;
  gate.release();
  for (const answer of await Promise.all([...others, slow])) assert.equal(answer.digest, content.digest);
  assert.equal(upstream.count({ method: "GET", kind: "blob" }), 1);
});

test("a fill that everybody left is finished when little is missing, and the next client finds it stored", async () => {
  const content = new VirtualContent(8 * MIB, 6);
  await using upstream = await TestUpstream.start();
  upstream.shelves.addBlob("library/demo", content);
  await using mirror = await TestMirror.start({ upstreams: { "docker.io": upstream } });
  const url = `${mirror.url}/v2/library/demo/blobs/${content.digest}`;
  const gate = upstream.gate({ kind: "blob" }, 2 * MIB);
  await getHashed(url, { leaveAfterBytes: 100_000 });
  gate.release();
  await mirror.settled();
  assert.equal((await mirror.stored()).length, 1);
  const answer = await getHashed(url);
  assert.equal(answer.digest, content.digest);
  assert.equal(answer.headers["cache-status"], "wharfinger; hit");
  assert.equal(upstream.count({ method: "GET" }), 1);
});

test("requests for one tag at once ask the upstream once", async () => {
  const image = makeImage();
  await using upstream = await TestUpstream.start();
  upstream.shelves.add("library/demo", image, "1");
  upstream.fault({ kind: "manifest" }, { delayHeadersMs: 50 });
  await using mirror = await TestMirror.start({ upstreams: { "docker.io": upstream } });
  const answers = await Promise.all(Array.from({ length: 30 }, () => get(`${mirror.url}/v2/demo/manifests/1`)));
  for (const answer of answers) assert.deepEqual(answer.body, image.manifest);
  assert.equal(upstream.count({ method: "HEAD", kind: "manifest" }), 1);
  assert.equal(upstream.count({ method: "GET", kind: "manifest" }), 1);
});

test("a herd leaves no socket, timer or descriptor behind", async () => {
  const content = new VirtualContent(4 * MIB, 7);
  const { readdir } = await import("node:fs/promises");
  const baseline = openResources();
  const descriptors = (await readdir("/proc/self/fd")).length;
  {
    await using upstream = await TestUpstream.start();
    upstream.shelves.addBlob("library/demo", content);
    await using mirror = await TestMirror.start({ upstreams: { "docker.io": upstream } });
    const url = `${mirror.url}/v2/library/demo/blobs/${content.digest}`;
    const leaving = Array.from({ length: 5 }, () => getHashed(url, { leaveAfterBytes: 1000 }));
    await Promise.all([...leaving, ...Array.from({ length: 5 }, () => getHashed(url))]);
    await mirror.settled();
  }
  assert.deepEqual(await residueSince(baseline), []);
  assert.ok((await readdir("/proc/self/fd")).length <= descriptors);
});
