/**
 * What the store has no room for: one body for all who ask for it, and nothing that is stored has to go for it.
 */
import assert from "node:assert/strict";
import test from "node:test";
import { VirtualContent } from "../kit/content.ts";
import { Gate } from "../kit/faults.ts";
import { get, getHashed } from "../kit/http.ts";
import { TEST_WORKERS, TestMirror } from "../kit/mirror.ts";
import { TestUpstream } from "../kit/upstream.ts";

const MIB = 1024 * 1024;

async function withSmallCache(
  run: (scene: { upstream: TestUpstream; mirror: TestMirror; add(content: VirtualContent): string }) => Promise<void>,
): Promise<void> {
  await using upstream = await TestUpstream.start();
  await using mirror = await TestMirror.start({
    upstreams: { "docker.io": upstream },
    config: { cache: { maxSize: "10MiB" } },
  });
  await run({
    upstream,
    mirror,
    add(content) {
      upstream.shelves.addBlob("library/demo", content);
      return `${mirror.url}/v2/library/demo/blobs/${content.digest}`;
    },
  });
}

const blobGets = (upstream: TestUpstream, digest: string) =>
  upstream.requests.filter(({ method, reference }) => method === "GET" && reference === digest);

test("a blob larger than the cache passes through, and what is stored stays stored", () =>
  withSmallCache(async ({ mirror, add }) => {
    const small = [1, 2, 3].map((seed) => new VirtualContent(2 * MIB, seed));
    for (const content of small) await getHashed(add(content));
    await mirror.settled();
    const large = new VirtualContent(30 * MIB, 4);
    const answer = await getHashed(add(large));
    assert.equal(answer.digest, large.digest);
    assert.match(String(answer.headers["cache-status"]), /fwd=bypass/);
    for (const content of small) {
      const again = await getHashed(`${mirror.url}/v2/library/demo/blobs/${content.digest}`);
      assert.equal(again.headers["cache-status"], "wharfinger; hit");
    }
    assert.equal((await mirror.stored()).length, 3);
  }));

test("clients that ask for it at once share one body of the upstream", () =>
  withSmallCache(async ({ upstream, mirror, add }) => {
    const content = new VirtualContent(30 * MIB, 5);
    const url = add(content);
    // Its size is known then, and no fill has to find out that there is no room.
    await get(url, { method: "HEAD" });
    const gate = new Gate("headers");
    upstream.fault({ kind: "blob", method: "GET" }, { gate });
    const clients = Array.from({ length: 10 }, () => getHashed(url));
    await gate.reached;
    // Whoever was there before is on his way by then.
    for (let round = 0; round < 10; round += 1) await get(`${mirror.url}/v2/`);
    gate.release();
    for (const { complete, digest } of await Promise.all(clients))
      assert.deepEqual([complete, digest], [true, content.digest]);
    const asked = blobGets(upstream, content.digest).length;
    // Each process that answers has one of its own, as has who comes when its beginning is gone.
    assert.ok(asked <= TEST_WORKERS + 1, `the upstream was asked ${asked} times`);
    assert.equal((await getHashed(url)).digest, content.digest);
    assert.deepEqual(await mirror.stored(), []);
    assert.deepEqual(await mirror.partials(), []);
  }));

test("a range of it is asked for as a range", () =>
  withSmallCache(async ({ upstream, mirror, add }) => {
    const content = new VirtualContent(30 * MIB, 6);
    const url = add(content);
    // Its size is known then.
    await get(url, { method: "HEAD" });
    const answer = await get(url, { headers: { Range: `bytes=${20 * MIB}-${21 * MIB - 1}` } });
    assert.equal(answer.status, 206);
    assert.equal(answer.headers["content-range"], `bytes ${20 * MIB}-${21 * MIB - 1}/${content.sizeBytes}`);
    assert.deepEqual(answer.body, Buffer.concat([...content.read(20 * MIB, 21 * MIB)]));
    assert.deepEqual(
      blobGets(upstream, content.digest).map(({ bodyBytes }) => bodyBytes),
      [MIB],
    );
    assert.deepEqual(await mirror.stored(), []);
  }));

test("a range that reaches the end of it is cut from the verified whole", () =>
  withSmallCache(async ({ upstream, mirror, add }) => {
    const content = new VirtualContent(30 * MIB, 8);
    const url = add(content);
    await get(url, { method: "HEAD" });
    for (const [range, start] of [
      ["bytes=0-", 0],
      [`bytes=${20 * MIB}-`, 20 * MIB],
      ["bytes=-10", content.sizeBytes - 10],
    ] as const) {
      const answer = await get(url, { headers: { Range: range } });
      assert.equal(answer.status, 206, range);
      assert.equal(answer.headers["content-range"], `bytes ${start}-${content.sizeBytes - 1}/${content.sizeBytes}`);
      assert.ok(answer.body.equals(Buffer.concat([...content.read(start, content.sizeBytes)])), range);
    }
    assert.ok(blobGets(upstream, content.digest).every(({ headers }) => headers.range === undefined));
    assert.deepEqual(await mirror.stored(), []);
  }));

test("wrong bytes are not completed by a range, nor by resuming what was cut", () =>
  withSmallCache(async ({ upstream, add }) => {
    const content = new VirtualContent(30 * MIB, 9);
    const url = add(content);
    await get(url, { method: "HEAD" });
    upstream.fault({ kind: "blob", method: "GET" }, { flipAtByte: content.sizeBytes - MIB });
    const cut = await getHashed(url);
    assert.equal(cut.complete, false);
    const ranges = ["bytes=0-", `bytes=${cut.sizeBytes}-`, `bytes=${29 * MIB}-`, "bytes=-10", "bytes=0-9,-10"];
    for (const range of ranges) {
      const answer = await getHashed(url, { headers: { Range: range } });
      assert.ok(answer.status === 502 || !answer.complete, range);
    }
  }));

test("a body that breaks on its way through is taken up where it broke", () =>
  withSmallCache(async ({ upstream, add }) => {
    const content = new VirtualContent(30 * MIB, 7);
    const url = add(content);
    upstream.fault({ kind: "blob", method: "GET" }, { cutAfterBytes: 12 * MIB }, { times: 1 });
    const answer = await getHashed(url);
    assert.deepEqual([answer.complete, answer.digest], [true, content.digest]);
    assert.ok(blobGets(upstream, content.digest).length === 2);
  }));
