/**
 * Knowing a digest, or having its bytes from another repository, is no permission to read it.
 */
import assert from "node:assert/strict";
import test from "node:test";
import { get } from "../kit/http.ts";
import { makeImage, makeIndex } from "../kit/image.ts";
import { TestMirror } from "../kit/mirror.ts";
import { TestUpstream } from "../kit/upstream.ts";

test("a cached blob is not served in a repository that does not have it, by GET, HEAD or range", async () => {
  const secret = makeImage({ seed: 31 });
  await using upstream = await TestUpstream.start();
  upstream.shelves.add("private/app", secret, "1");
  upstream.shelves.add("public/app", makeImage({ seed: 32 }), "1");
  await using mirror = await TestMirror.start({ upstreams: { "docker.io": upstream } });
  const layer = secret.layers[2]?.digest;
  await get(`${mirror.url}/v2/private/app/manifests/1`);
  await get(`${mirror.url}/v2/private/app/blobs/${layer}`);
  await mirror.settled();
  for (const options of [{}, { method: "HEAD" }, { headers: { Range: "bytes=0-9" } }]) {
    assert.equal((await get(`${mirror.url}/v2/public/app/blobs/${layer}`, options)).status, 404);
    assert.equal((await get(`${mirror.url}/v2/public/app/manifests/${secret.digest}`, options)).status, 404);
  }
  assert.equal((await get(`${mirror.url}/v2/private/app/blobs/${layer}`)).status, 200);
});

test("a blob that is being filled is not served in a repository that does not have it", async () => {
  const secret = makeImage({ seed: 33 });
  await using upstream = await TestUpstream.start();
  upstream.shelves.add("private/app", secret, "1");
  upstream.shelves.add("public/app", makeImage({ seed: 34 }), "1");
  await using mirror = await TestMirror.start({ upstreams: { "docker.io": upstream } });
  const layer = secret.layers[2]?.digest;
  const gate = upstream.gate({ kind: "blob", method: "GET" }, 100_000);
  const running = get(`${mirror.url}/v2/private/app/blobs/${layer}`);
  await gate.reached;
  assert.equal((await get(`${mirror.url}/v2/public/app/blobs/${layer}`)).status, 404);
  gate.release();
  assert.equal((await running).status, 200);
});

test("another repository that has the same blob is confirmed by HEAD and served from the store", async () => {
  const image = makeImage({ seed: 35 });
  await using upstream = await TestUpstream.start();
  upstream.shelves.add("one/app", image, "1");
  upstream.shelves.add("two/app", image, "1");
  await using mirror = await TestMirror.start({ upstreams: { "docker.io": upstream } });
  const layer = image.layers[2]?.digest;
  await get(`${mirror.url}/v2/one/app/blobs/${layer}`);
  await mirror.settled();
  upstream.forgetRequests();
  const answer = await get(`${mirror.url}/v2/two/app/blobs/${layer}`);
  assert.deepEqual(answer.body, image.blobs.get(layer ?? image.config.digest));
  assert.equal(answer.headers["cache-status"], "wharfinger; fwd=stale; fwd-status=200; detail=unchanged");
  assert.equal(upstream.count({ kind: "blob", method: "GET" }), 0);
  assert.equal((await get(`${mirror.url}/v2/two/app/blobs/${layer}`)).headers["cache-status"], "wharfinger; hit");
  assert.equal(upstream.count({ kind: "blob" }), 1);
});

test("a manifest of the repository gives permission to what it names, its index's manifests and their layers included", async () => {
  const image = makeImage({ seed: 36 });
  const index = makeIndex([image]);
  await using upstream = await TestUpstream.start();
  upstream.shelves.add("one/app", index, "1");
  upstream.shelves.add("two/app", index, "1");
  await using mirror = await TestMirror.start({ upstreams: { "docker.io": upstream } });
  for (const path of ["manifests/1", `manifests/${image.digest}`, `blobs/${image.layers[0]?.digest}`]) {
    await get(`${mirror.url}/v2/one/app/${path}`);
  }
  await mirror.settled();
  upstream.forgetRequests();
  await get(`${mirror.url}/v2/two/app/manifests/1`);
  assert.equal(
    (await get(`${mirror.url}/v2/two/app/manifests/${image.digest}`)).headers["cache-status"],
    "wharfinger; hit",
  );
  const blob = await get(`${mirror.url}/v2/two/app/blobs/${image.layers[0]?.digest}`);
  assert.equal(blob.headers["cache-status"], "wharfinger; hit");
  assert.deepEqual(
    upstream.requests.map(({ method, reference }) => [method, reference]),
    [["HEAD", "1"]],
  );
});

test("the subject of a manifest gives no permission", async () => {
  const secret = makeImage({ seed: 37 });
  const claim = makeImage({ seed: 38, subject: secret.descriptor });
  await using upstream = await TestUpstream.start();
  upstream.shelves.add("private/app", secret, "1");
  upstream.shelves.add("public/app", claim, "1");
  await using mirror = await TestMirror.start({ upstreams: { "docker.io": upstream } });
  await get(`${mirror.url}/v2/private/app/manifests/1`);
  await get(`${mirror.url}/v2/public/app/manifests/1`);
  assert.equal((await get(`${mirror.url}/v2/public/app/manifests/${secret.digest}`)).status, 404);
});

test("one upstream's content is not served under another's name", async () => {
  const image = makeImage({ seed: 39 });
  await using first = await TestUpstream.start();
  await using second = await TestUpstream.start();
  first.shelves.add("team/app", image, "1");
  await using mirror = await TestMirror.start({ upstreams: { "docker.io": first, "registry.example.com": second } });
  await get(`${mirror.url}/v2/team/app/manifests/1`);
  await get(`${mirror.url}/v2/team/app/blobs/${image.config.digest}`);
  await mirror.settled();
  const other = `${mirror.url}/v2/registry.example.com/team/app`;
  assert.equal((await get(`${other}/manifests/${image.digest}`)).status, 404);
  assert.equal((await get(`${other}/blobs/${image.config.digest}`)).status, 404);
});

test("permission survives a restart", async () => {
  const image = makeImage({ seed: 40 });
  await using upstream = await TestUpstream.start();
  upstream.shelves.add("library/demo", image, "1");
  await using first = await TestMirror.start({ upstreams: { "docker.io": upstream } });
  await get(`${first.url}/v2/demo/manifests/1`);
  for (const { digest } of image.layers) await get(`${first.url}/v2/demo/blobs/${digest}`);
  await first.mirror.stop();
  upstream.forgetRequests();
  await using second = await TestMirror.start({ upstreams: { "docker.io": upstream }, dir: first.dir });
  assert.match(
    String((await get(`${second.url}/v2/demo/manifests/1`)).headers["cache-status"]),
    /^wharfinger; hit; ttl=/,
  );
  for (const { digest } of image.layers) {
    const answer = await get(`${second.url}/v2/demo/blobs/${digest}`);
    assert.deepEqual(answer.body, image.blobs.get(digest));
    assert.equal(answer.headers["cache-status"], "wharfinger; hit");
  }
  assert.equal(upstream.requests.length, 0);
});

test("naming a digest in a manifest of one's own registry gives no access to another's stored bytes", async () => {
  const secret = makeImage({ seed: 41 });
  await using private_ = await TestUpstream.start();
  await using hostile = await TestUpstream.start();
  private_.shelves.add("team/app", secret, "1");
  const layer = secret.layers[2] ?? secret.config;
  const claim = (urls: readonly string[] | undefined) =>
    Buffer.from(
      JSON.stringify({
        schemaVersion: 2,
        mediaType: secret.mediaType,
        config: { mediaType: secret.config.mediaType, digest: secret.config.digest, size: secret.config.sizeBytes },
        layers: [{ mediaType: layer.mediaType, digest: layer.digest, size: layer.sizeBytes, urls }],
      }),
    );
  hostile.shelves.addManifest("me/x", claim(undefined), secret.mediaType, "named");
  hostile.shelves.addManifest("me/x", claim(["https://elsewhere.example/layer"]), secret.mediaType, "foreign");
  await using mirror = await TestMirror.start({ upstreams: { "docker.io": private_, "evil.example": hostile } });
  await get(`${mirror.url}/v2/team/app/manifests/1`);
  await get(`${mirror.url}/v2/team/app/blobs/${layer.digest}`);
  await mirror.settled();
  for (const tag of ["named", "foreign"]) {
    assert.equal((await get(`${mirror.url}/v2/evil.example/me/x/manifests/${tag}`)).status, 200);
    for (const options of [{}, { method: "HEAD" }, { headers: { Range: "bytes=0-9" } }]) {
      const answer = await get(`${mirror.url}/v2/evil.example/me/x/blobs/${layer.digest}`, options);
      assert.equal(answer.status, 404, `${tag} ${JSON.stringify(options)}`);
    }
  }
});

test("a blob shared with another upstream is confirmed there once, and served from the store", async () => {
  const image = makeImage({ seed: 42 });
  await using first = await TestUpstream.start();
  await using second = await TestUpstream.start();
  first.shelves.add("one/app", image, "1");
  second.shelves.add("two/app", image, "1");
  await using mirror = await TestMirror.start({ upstreams: { "docker.io": first, "ghcr.io": second } });
  const layer = image.layers[2]?.digest;
  await get(`${mirror.url}/v2/one/app/blobs/${layer}`);
  await mirror.settled();
  await get(`${mirror.url}/v2/ghcr.io/two/app/manifests/1`);
  for (const _ of [1, 2]) assert.equal((await get(`${mirror.url}/v2/ghcr.io/two/app/blobs/${layer}`)).status, 200);
  assert.equal(second.count({ kind: "blob", method: "HEAD" }), 1);
  assert.equal(second.count({ kind: "blob", method: "GET" }), 0);
});

for (const fault of [{ status: 404 }, { status: 401 }, { status: 429 }, { status: 503 }]) {
  test(`what another upstream answers (${fault.status}) to the same digest is nobody else's answer`, async () => {
    const image = makeImage({ seed: 43 });
    await using good = await TestUpstream.start();
    await using evil = await TestUpstream.start();
    good.shelves.add("library/demo", image, "1");
    await using mirror = await TestMirror.start({ upstreams: { "docker.io": good, "evil.example": evil } });
    await get(`${mirror.url}/v2/demo/manifests/1`);
    const layer = image.layers[2]?.digest;
    evil.fault({ kind: "blob" }, fault);
    const gate = evil.gate({ kind: "blob" }, "headers");
    const provoked = get(`${mirror.url}/v2/evil.example/x/y/blobs/${layer}`);
    await gate.reached;
    const victim = get(`${mirror.url}/v2/demo/blobs/${layer}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
    gate.release();
    assert.equal((await victim).status, 200);
    assert.notEqual((await provoked).status, 200);
  });
}
