/**
 * Starting, draining, stopping, restarting; and what a mirror does when its disk gives out.
 */
import assert from "node:assert/strict";
import { chmod, readdir, readlink, rm, truncate, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { join } from "node:path";
import test from "node:test";
import { VirtualContent } from "../kit/content.ts";
import { get, getHashed } from "../kit/http.ts";
import { makeImage } from "../kit/image.ts";
import { TestMirror } from "../kit/mirror.ts";
import { openResources, residueSince } from "../kit/residue.ts";
import { makeTempDir } from "../kit/temp.ts";
import { TestUpstream } from "../kit/upstream.ts";

const MIB = 1024 * 1024;

test("it starts without any network, and serves what it has", async () => {
  await using mirror = await TestMirror.start({ upstreams: { "docker.io": "http://192.0.2.1:1" } });
  assert.equal((await get(`${mirror.url}/v2/`)).status, 200);
  assert.equal((await get(`${mirror.adminUrl}/healthz`)).status, 200);
  const ready = await get(`${mirror.adminUrl}/readyz`);
  assert.equal(ready.status, 200);
  assert.equal(JSON.parse(ready.body.toString()).reason, "serving");
});

test("while draining, running pulls finish, new connections are refused, and readiness says why", async () => {
  const content = new VirtualContent(4 * MIB, 61);
  await using upstream = await TestUpstream.start();
  upstream.shelves.addBlob("library/demo", content);
  await using mirror = await TestMirror.start({ upstreams: { "docker.io": upstream } });
  const gate = upstream.gate({ kind: "blob" }, MIB);
  const pull = getHashed(`${mirror.url}/v2/demo/blobs/${content.digest}`);
  await gate.reached;
  const stopped = mirror.mirror.stop({ graceMs: 10_000 });
  await mirror.until(async () => (await get(`${mirror.url}/v2/`)).status === 0, "new connections are still taken");
  const ready = await get(`${mirror.adminUrl}/readyz`);
  assert.equal(ready.status, 503);
  assert.equal(JSON.parse(ready.body.toString()).reason, "draining");
  gate.release();
  assert.equal((await pull).digest, content.digest);
  await stopped;
});

test("what outlasts the grace period is broken off, short, and leaves what can be gone on with", async () => {
  const content = new VirtualContent(4 * MIB, 62);
  const baseline = openResources();
  {
    await using upstream = await TestUpstream.start();
    upstream.shelves.addBlob("library/demo", content);
    await using mirror = await TestMirror.start({ upstreams: { "docker.io": upstream } });
    const gate = upstream.gate({ kind: "blob" }, 3 * MIB);
    const pull = getHashed(`${mirror.url}/v2/demo/blobs/${content.digest}`);
    await gate.reached;
    const came = async () => (await mirror.keptBytes()).get(content.digest.slice(7)) ?? 0;
    await mirror.until(async () => (await came()) > 2 * MIB, "too little came");
    await mirror.mirror.stop({ graceMs: 50 });
    assert.equal((await pull).complete, false);
    const kept = await mirror.keptBytes();
    assert.deepEqual([...kept.keys()], [content.digest.slice(7)]);
    assert.ok((kept.get(content.digest.slice(7)) ?? 0) > 2 * MIB);
    assert.deepEqual(await mirror.stored(), []);
    gate.release();
  }
  assert.deepEqual(await residueSince(baseline), []);
});

test("partial files of an earlier run that nobody knows of are removed behind the start, and what was complete is kept", async () => {
  const image = makeImage({ seed: 63 });
  await using upstream = await TestUpstream.start();
  upstream.shelves.add("library/demo", image, "1");
  await using first = await TestMirror.start({ upstreams: { "docker.io": upstream } });
  await get(`${first.url}/v2/demo/blobs/${image.config.digest}`);
  await first.mirror.stop();
  await writeFile(join(first.dir, "v1", "partial", "sha256-dead.1"), "half a blob");
  await using second = await TestMirror.start({ upstreams: { "docker.io": upstream }, dir: first.dir });
  await second.settled();
  assert.equal(
    (await get(`${second.url}/v2/demo/blobs/${image.config.digest}`)).headers["cache-status"],
    "wharfinger; hit",
  );
});

test("a stored file that was shortened or lost is fetched again, never answered short or empty", async () => {
  const image = makeImage({ seed: 64 });
  await using upstream = await TestUpstream.start();
  upstream.shelves.add("library/demo", image, "1");
  await using mirror = await TestMirror.start({ upstreams: { "docker.io": upstream } });
  const layer = image.layers[2]?.digest ?? image.config.digest;
  const url = `${mirror.url}/v2/demo/blobs/${layer}`;
  await get(url);
  await mirror.settled();
  const hex = layer.slice(7);
  const file = join(mirror.dir, "v1", "blobs", "sha256", hex.slice(0, 2), hex);
  for (const harm of [() => chmod(file, 0o600).then(() => truncate(file, 1000)), () => rm(file)]) {
    await harm();
    const answer = await get(url);
    assert.deepEqual(answer.body, image.blobs.get(layer));
    await mirror.settled();
    assert.equal((await get(url)).headers["cache-status"], "wharfinger; hit");
  }
  assert.equal(upstream.count({ kind: "blob", method: "GET" }), 3);
});

test("what the cache has no room for is streamed through, verified, and not kept", async () => {
  const content = new VirtualContent(4 * MIB, 65);
  await using upstream = await TestUpstream.start();
  upstream.shelves.addBlob("library/demo", content);
  await using mirror = await TestMirror.start({
    upstreams: { "docker.io": upstream },
    config: { cache: { maxSize: 1 } },
  });
  await get(`${mirror.url}/v2/demo/blobs/${content.digest}`, { method: "HEAD" });
  const answer = await getHashed(`${mirror.url}/v2/demo/blobs/${content.digest}`);
  assert.equal(answer.digest, content.digest);
  assert.equal(answer.headers["cache-status"], "wharfinger; fwd=bypass; detail=cache-full");
  assert.deepEqual(await mirror.stored(), []);
  for (const fault of [
    { flipAtByte: 3 * MIB },
    { flipAtByte: 4 * MIB - 1 },
    { missingBytes: 5 },
    { trailingBytes: 5 },
  ]) {
    const lift = upstream.fault({ kind: "blob", method: "GET" }, fault);
    const wrong = await getHashed(`${mirror.url}/v2/demo/blobs/${content.digest}`);
    assert.equal(wrong.complete && wrong.status === 200, false, JSON.stringify(fault));
    lift();
  }
});

test("a cache directory that cannot be written, or a port in use, is one clear failure", async () => {
  await using dir = await makeTempDir();
  const blocked = join(dir.path, "file");
  await writeFile(blocked, "");
  await assert.rejects(TestMirror.start({ upstreams: { "docker.io": "http://127.0.0.1:9" }, dir: blocked }), {
    name: "Failure",
    kind: "storage",
    message: /cache directory/,
  });
  const taken = createServer();
  await new Promise<void>((resolve) => taken.listen(0, "127.0.0.1", resolve));
  const { port } = taken.address() as { port: number };
  await assert.rejects(
    TestMirror.start({ upstreams: { "docker.io": "http://127.0.0.1:9" }, config: { listen: `127.0.0.1:${port}` } }),
    { name: "Failure", message: /cannot listen on 127\.0\.0\.1:\d+: the port is in use/ },
  );
  taken.close();
});

test("two mirrors on one cache directory: the second is refused", async () => {
  await using first = await TestMirror.start({ upstreams: { "docker.io": "http://127.0.0.1:9" } });
  await assert.rejects(TestMirror.start({ upstreams: { "docker.io": "http://127.0.0.1:9" }, dir: first.dir }), {
    message: /in use by another process/,
  });
  assert.ok((await readdir(first.dir)).includes("v1"));
});

test("the metrics tell hits, misses, bytes and what the cache holds", async () => {
  const image = makeImage({ seed: 66 });
  await using upstream = await TestUpstream.start();
  upstream.shelves.add("library/demo", image, "1");
  await using mirror = await TestMirror.start({ upstreams: { "docker.io": upstream } });
  const url = `${mirror.url}/v2/demo/blobs/${image.config.digest}`;
  await get(url);
  await mirror.settled();
  await get(url);
  await get(`${mirror.url}/v2/demo/manifests/missing`);
  const answer = await get(`${mirror.adminUrl}/metrics`);
  const text = answer.body.toString();
  for (const line of [
    'wharfinger_requests_total{upstream="docker.io",kind="blob",method="GET",status="200",cache="miss"} 1',
    'wharfinger_requests_total{upstream="docker.io",kind="blob",method="GET",status="200",cache="hit"} 1',
    `wharfinger_response_bytes_total{upstream="docker.io",kind="blob",cache="hit"} ${image.config.sizeBytes}`,
    'wharfinger_upstream_requests_total{upstream="docker.io",kind="blob",method="GET",status="200"} 1',
    `wharfinger_upstream_bytes_total{upstream="docker.io"} ${image.config.sizeBytes}`,
    `wharfinger_cache_size_bytes ${image.config.sizeBytes}`,
    "wharfinger_cache_blobs 1",
    "wharfinger_fills_active 0",
    "wharfinger_followers_active 0",
  ]) {
    assert.ok(text.includes(line), line);
  }
  assert.equal((await get(`${mirror.adminUrl}/v2/`)).status, 404, "the admin listener is no registry");
});

test("a tag that was learned by HEAD and pulled by digest, as containerd does, is known after a restart", async () => {
  const image = makeImage({ seed: 67 });
  const upstream = await TestUpstream.start();
  upstream.shelves.add("library/demo", image, "1");
  await using first = await TestMirror.start({ upstreams: { "docker.io": upstream } });
  await get(`${first.url}/v2/demo/manifests/1`, { method: "HEAD" });
  await get(`${first.url}/v2/demo/manifests/${image.digest}`);
  await first.mirror.stop();
  await upstream.close();
  await using second = await TestMirror.start({ upstreams: { "docker.io": upstream.url }, dir: first.dir });
  const head = await get(`${second.url}/v2/demo/manifests/1`, { method: "HEAD" });
  assert.equal(head.status, 200);
  assert.equal(head.headers["docker-content-digest"], image.digest);
});

test("an index that refuses writes costs no descriptor and no answer", async () => {
  const image = makeImage({ seed: 68 });
  await using upstream = await TestUpstream.start();
  upstream.shelves.add("library/demo", image, "1");
  await using mirror = await TestMirror.start({ upstreams: { "docker.io": upstream } });
  const url = `${mirror.url}/v2/demo/blobs/${image.layers[1]?.digest}`;
  await get(url);
  await mirror.settled();
  const { StatementSync } = await import("node:sqlite");
  const run = StatementSync.prototype.run;
  const troubles: string[] = [];
  mirror.mirror.notices.on("storageTrouble", ({ message }) => troubles.push(message));
  StatementSync.prototype.run = () => {
    throw Object.assign(new Error("disk I/O error"), { code: "ERR_SQLITE_ERROR" });
  };
  try {
    const other = `${mirror.url}/v2/demo/blobs/${image.layers[2]?.digest}`;
    const stored = async () => {
      const open = await Promise.all(
        (await readdir("/proc/self/fd")).map((fd) => readlink(`/proc/self/fd/${fd}`).catch(() => "")),
      );
      return open.filter((path) => path.includes("/blobs/sha256/")).length;
    };
    for (let at = 0; at < 10; at += 1) {
      assert.equal((await get(url)).status, 200);
      assert.equal((await get(other)).status, 200);
    }
    await mirror.settled();
    await mirror.until(async () => (await stored()) === 0, "descriptors are left");
    assert.ok(troubles.length > 0);
  } finally {
    StatementSync.prototype.run = run;
  }
});
