/**
 * A whole image through the mirror, cold and warm: bytes, headers, and what it cost the upstream.
 */
import assert from "node:assert/strict";
import test from "node:test";
import { get } from "../kit/http.ts";
import { makeImage, makeIndex } from "../kit/image.ts";
import { TestMirror } from "../kit/mirror.ts";
import { TestUpstream } from "../kit/upstream.ts";

test("a cold pull asks the upstream once for each digest, and a warm pull asks nothing", async () => {
  const image = makeImage();
  const index = makeIndex([image, makeImage({ seed: 2, architecture: "arm64" })]);
  await using upstream = await TestUpstream.start();
  upstream.shelves.add("library/demo", index, "1");
  await using mirror = await TestMirror.start({ upstreams: { "docker.io": upstream } });

  const pull = async () => {
    const tag = await get(`${mirror.url}/v2/library/demo/manifests/1`);
    assert.equal(tag.status, 200);
    assert.deepEqual(tag.body, index.manifest);
    assert.equal(tag.headers["content-type"], index.mediaType);
    const manifest = await get(`${mirror.url}/v2/library/demo/manifests/${image.digest}`);
    assert.deepEqual(manifest.body, image.manifest);
    for (const { digest, sizeBytes } of [image.config, ...image.layers]) {
      const blob = await get(`${mirror.url}/v2/library/demo/blobs/${digest}`);
      assert.equal(blob.status, 200);
      assert.deepEqual(blob.body, image.blobs.get(digest));
      assert.equal(blob.headers["content-length"], String(sizeBytes));
      assert.equal(blob.headers["docker-content-digest"], digest);
      assert.equal(blob.headers.etag, `"${digest}"`);
    }
  };
  await pull();
  assert.deepEqual(
    [...upstream.countsByReference({ method: "GET" }).values()],
    Array(2 + 1 + image.layers.length).fill(1),
  );
  assert.equal(upstream.count({ method: "GET", kind: "manifest", reference: "1" }), 0, "a tag is asked for by HEAD");
  upstream.forgetRequests();
  await pull();
  assert.equal(upstream.requests.length, 0);
});

test("a HEAD of a cold tag or blob downloads nothing, and tells size, type and digest", async () => {
  const image = makeImage();
  await using upstream = await TestUpstream.start();
  upstream.shelves.add("library/demo", image, "1");
  await using mirror = await TestMirror.start({ upstreams: { "docker.io": upstream } });

  const manifest = await get(`${mirror.url}/v2/library/demo/manifests/1`, { method: "HEAD" });
  assert.equal(manifest.status, 200);
  assert.equal(manifest.headers["content-length"], String(image.manifest.length));
  assert.equal(manifest.headers["content-type"], image.mediaType);
  assert.equal(manifest.headers["docker-content-digest"], image.digest);
  assert.equal(manifest.headers["cache-status"], "wharfinger; fwd=miss; fwd-status=200");
  const layer = image.layers[2];
  assert.ok(layer);
  const blob = await get(`${mirror.url}/v2/library/demo/blobs/${layer.digest}`, { method: "HEAD" });
  assert.equal(blob.headers["content-length"], String(layer.sizeBytes));
  assert.equal(blob.headers["docker-content-digest"], layer.digest);
  assert.equal(upstream.count({ method: "GET" }), 0);
  assert.deepEqual(await mirror.stored(), []);

  const again = await get(`${mirror.url}/v2/library/demo/manifests/1`, { method: "HEAD" });
  assert.match(String(again.headers["cache-status"]), /^wharfinger; hit; ttl=\d+$/);
  await get(`${mirror.url}/v2/library/demo/manifests/1`);
  assert.equal(upstream.count({ method: "HEAD", kind: "manifest" }), 1, "what a HEAD has told is not asked again");
  assert.equal(upstream.count({ method: "GET", kind: "manifest" }), 1);
});

test("a HEAD of what is stored is a hit with the exact length", async () => {
  const image = makeImage();
  await using upstream = await TestUpstream.start();
  upstream.shelves.add("library/demo", image, "1");
  await using mirror = await TestMirror.start({ upstreams: { "docker.io": upstream } });
  await get(`${mirror.url}/v2/library/demo/manifests/1`);
  const url = `${mirror.url}/v2/library/demo/blobs/${image.config.digest}`;
  await get(url);
  await mirror.settled();
  upstream.forgetRequests();
  const head = await get(url, { method: "HEAD" });
  assert.equal(head.headers["content-length"], String(image.config.sizeBytes));
  assert.equal(head.headers["cache-status"], "wharfinger; hit");
  assert.equal(head.headers["accept-ranges"], "bytes");
  assert.equal(upstream.requests.length, 0);
});

test("If-None-Match with the digest gives 304 with the ETag and no body", async () => {
  const image = makeImage();
  await using upstream = await TestUpstream.start();
  upstream.shelves.add("library/demo", image, "1");
  await using mirror = await TestMirror.start({ upstreams: { "docker.io": upstream } });
  for (const tag of [`"${image.digest}"`, `W/"${image.digest}"`, image.digest, `"other", "${image.digest}"`, "*"]) {
    const answer = await get(`${mirror.url}/v2/demo/manifests/1`, { headers: { "If-None-Match": tag } });
    assert.equal(answer.status, 304, tag);
    assert.equal(answer.headers.etag, `"${image.digest}"`);
    assert.equal(answer.body.length, 0);
  }
  const layer = image.layers[1]?.digest;
  const blob = await get(`${mirror.url}/v2/demo/blobs/${layer}`, { headers: { "If-None-Match": `"${layer}"` } });
  assert.equal(blob.status, 304);
  const changed = await get(`${mirror.url}/v2/demo/manifests/1`, { headers: { "If-None-Match": '"sha256:0"' } });
  assert.equal(changed.status, 200);
});

test("every answer carries the common headers, and a well-formed request id is taken over", async () => {
  await using upstream = await TestUpstream.start();
  upstream.shelves.add("library/demo", makeImage(), "1");
  await using mirror = await TestMirror.start({ upstreams: { "docker.io": upstream } });
  for (const path of [
    "/v2/",
    "/v2/demo/manifests/1",
    "/v2/demo/manifests/2",
    "/v2/demo/blobs/x",
    "/v2/_catalog",
    "/nope",
  ]) {
    const { headers } = await get(mirror.url + path, { headers: { "X-Request-Id": "build-4711-abc" } });
    assert.equal(headers["docker-distribution-api-version"], "registry/2.0", path);
    assert.equal(headers["x-content-type-options"], "nosniff", path);
    assert.equal(headers.via, "1.1 wharfinger", path);
    assert.equal(headers["x-request-id"], "build-4711-abc", path);
    assert.match(String(headers["cache-status"]), /^wharfinger(;|$)/, path);
  }
  const { headers } = await get(`${mirror.url}/v2/`, { headers: { "X-Request-Id": "<script>" } });
  assert.doesNotMatch(String(headers["x-request-id"]), /</);
});

test("a sha512 blob is verified and served by its digest", async () => {
  const { digestOf } = await import("../../src/oci/digest.ts");
  const { BufferContent, seededBytes } = await import("../kit/content.ts");
  const bytes = seededBytes(200_000, 9);
  const digest = digestOf(bytes, "sha512");
  await using upstream = await TestUpstream.start();
  upstream.shelves.addBlob("library/demo", new BufferContent(bytes, digest));
  await using mirror = await TestMirror.start({ upstreams: { "docker.io": upstream } });
  const answer = await get(`${mirror.url}/v2/demo/blobs/${digest}`);
  assert.deepEqual(answer.body, bytes);
  assert.equal(answer.headers["docker-content-digest"], digest);
});

test("an empty blob is a blob", async () => {
  await using upstream = await TestUpstream.start();
  const digest = upstream.shelves.addBlob("library/demo", Buffer.alloc(0));
  await using mirror = await TestMirror.start({ upstreams: { "docker.io": upstream } });
  for (const _ of [1, 2]) {
    const answer = await get(`${mirror.url}/v2/demo/blobs/${digest}`, { headers: { Range: "bytes=0-10" } });
    assert.equal(answer.status, 200);
    assert.equal(answer.headers["content-length"], "0");
  }
});

test("a blob without Content-Length is served with its exact length", async () => {
  const image = makeImage();
  await using upstream = await TestUpstream.start();
  upstream.shelves.add("library/demo", image, "1");
  upstream.fault({ kind: "blob" }, { omitContentLength: true });
  await using mirror = await TestMirror.start({ upstreams: { "docker.io": upstream } });
  // Without a manifest nobody has told the size: it is known when the blob is here.
  const layer = image.layers[2];
  assert.ok(layer);
  const unknown = await get(`${mirror.url}/v2/demo/blobs/${layer.digest}`);
  assert.equal(unknown.headers["content-length"], String(layer.sizeBytes));
  assert.deepEqual(unknown.body, image.blobs.get(layer.digest));
});
