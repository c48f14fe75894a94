/**
 * Upstreams that die in the middle of a blob and come back: nobody who waits notices more than a pause, and what was
 * received is not asked for again.
 */
import assert from "node:assert/strict";
import test from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { VirtualContent } from "../kit/content.ts";
import { getHashed } from "../kit/http.ts";
import { TestMirror } from "../kit/mirror.ts";
import { openResources, residueSince } from "../kit/residue.ts";
import { TestUpstream } from "../kit/upstream.ts";

const MIB = 1024 * 1024;
const CLIENTS = 20;
/** Longer than a few quick attempts. */
const DEAD_MS = 3000;

test("an upstream that dies under a herd and comes back 3 s later: 20 complete right bodies, hardly a byte twice", async () => {
  const content = new VirtualContent(32 * MIB, 31);
  const baseline = openResources();
  {
    await using upstream = await TestUpstream.start();
    upstream.shelves.addBlob("library/demo", content);
    await using mirror = await TestMirror.start({ upstreams: { "docker.io": upstream } });
    const url = `${mirror.url}/v2/library/demo/blobs/${content.digest}`;
    const halfway = upstream.gate({ kind: "blob" }, 16 * MIB, 1);
    const early = Array.from({ length: CLIENTS - 5 }, () => getHashed(url));
    await halfway.reached;
    await upstream.close();
    const late = Array.from({ length: 5 }, () => getHashed(url));
    await sleep(DEAD_MS);
    await upstream.reopen();

    for (const answer of await Promise.all([...early, ...late])) {
      assert.deepEqual([answer.status, answer.complete], [200, true]);
      assert.equal(answer.digest, content.digest);
    }
    await mirror.settled();
    assert.deepEqual(await mirror.stored(), [content.digest.slice(7)]);
    const gets = upstream.matching({ kind: "blob", method: "GET" });
    const bytes = gets.reduce((sum, { bodyBytes }) => sum + bodyBytes, 0);
    assert.ok(bytes <= 1.1 * content.sizeBytes, `${bytes} bytes from the upstream`);
    assert.match(gets.at(-1)?.headers.range ?? "", /^bytes=\d+-$/);
  }
  assert.deepEqual(await residueSince(baseline), []);
});

test("an upstream that limits us, or has no time, in the middle of a blob is asked again", async () => {
  const content = new VirtualContent(4 * MIB, 32);
  for (const status of [429, 503]) {
    await using upstream = await TestUpstream.start();
    upstream.shelves.addBlob("library/demo", content);
    await using mirror = await TestMirror.start({ upstreams: { "docker.io": upstream } });
    upstream.fault({ kind: "blob" }, { cutAfterBytes: 2 * MIB }, { times: 1 });
    upstream.fault({ kind: "blob" }, { status, retryAfter: "1" }, { times: 1, skip: 1 });
    const answer = await getHashed(`${mirror.url}/v2/library/demo/blobs/${content.digest}`);
    assert.deepEqual([answer.status, answer.complete, answer.digest], [200, true, content.digest], String(status));
    const statuses = upstream.matching({ kind: "blob", method: "GET" }).map((request) => request.status);
    assert.deepEqual(statuses, [200, status, 206]);
  }
});

test("a mirror that is stopped while it waits for its upstream ends at once and leaves only what can be gone on with", async () => {
  const content = new VirtualContent(8 * MIB, 33);
  const baseline = openResources();
  {
    await using upstream = await TestUpstream.start();
    upstream.shelves.addBlob("library/demo", content);
    await using mirror = await TestMirror.start({ upstreams: { "docker.io": upstream } });
    const halfway = upstream.gate({ kind: "blob" }, 4 * MIB);
    const pull = getHashed(`${mirror.url}/v2/library/demo/blobs/${content.digest}`);
    await halfway.reached;
    const came = async () => (await mirror.keptBytes()).get(content.digest.slice(7)) ?? 0;
    await mirror.until(async () => (await came()) > 3 * MIB, "too little came");
    await upstream.close();
    await mirror.mirror.stop();
    assert.equal((await pull).complete, false);
    const kept = await mirror.keptBytes();
    assert.deepEqual([...kept.keys()], [content.digest.slice(7)]);
    assert.ok((kept.get(content.digest.slice(7)) ?? 0) > 3 * MIB);
    assert.deepEqual(await mirror.stored(), []);
  }
  assert.deepEqual(await residueSince(baseline), []);
});
