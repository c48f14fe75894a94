/**
 * Upstreams that want tokens or passwords: what a pull costs them, and what reaches whom.
 */
import assert from "node:assert/strict";
import test from "node:test";
import { get } from "../kit/http.ts";
import { makeImage } from "../kit/image.ts";
import { TestMirror } from "../kit/mirror.ts";
import { TestUpstream } from "../kit/upstream.ts";

const image = makeImage({ seed: 81 });

async function pullAll(mirror: TestMirror, repository: string): Promise<number[]> {
  const manifest = await get(`${mirror.url}/v2/${repository}/manifests/1`);
  const blobs = await Promise.all(
    [image.config, ...image.layers].map(({ digest }) => get(`${mirror.url}/v2/${repository}/blobs/${digest}`)),
  );
  return [manifest.status, ...blobs.map(({ status }) => status)];
}

test("a whole image behind bearer tokens costs one token, and blobs are fetched from storage without it", async () => {
  await using upstream = await TestUpstream.start({ auth: { mode: "bearer" }, redirectBlobs: true });
  upstream.shelves.add("library/demo", image, "1");
  await using mirror = await TestMirror.start({ upstreams: { "docker.io": upstream } });
  assert.deepEqual(await pullAll(mirror, "demo"), [200, 200, 200, 200, 200]);
  assert.equal(upstream.tokens.requests.length, 1);
  const storage = upstream.matching({ kind: "cdn" });
  assert.equal(storage.length, 4);
  assert.ok(storage.every((request) => request.headers.authorization === undefined));
});

test("a token that was revoked is replaced once, and the client sees nothing of it", async () => {
  await using upstream = await TestUpstream.start({ auth: { mode: "bearer" } });
  upstream.shelves.add("library/demo", image, "1");
  await using mirror = await TestMirror.start({ upstreams: { "docker.io": upstream } });
  await get(`${mirror.url}/v2/demo/manifests/1`);
  upstream.tokens.revokeAll();
  assert.equal((await get(`${mirror.url}/v2/demo/blobs/${image.config.digest}`)).status, 200);
  assert.equal(upstream.tokens.requests.length, 2);
});

test("a password is sent to a registry that asks for it; a wrong one is 502, never 401", async () => {
  await using upstream = await TestUpstream.start({ auth: { mode: "basic", username: "robot", password: "right" } });
  upstream.shelves.add("library/demo", image, "1");
  for (const [password, status] of [
    ["right", 200],
    ["wrong", 502],
  ] as const) {
    await using mirror = await TestMirror.start({
      upstreams: { "docker.io": upstream },
      upstream: { credentials: [{ username: "robot", password }] },
    });
    assert.equal((await get(`${mirror.url}/v2/demo/manifests/1`)).status, status);
  }
});

test("without credentials, what needs them is 404", async () => {
  await using upstream = await TestUpstream.start({ auth: { mode: "basic", username: "robot", password: "right" } });
  upstream.shelves.add("library/demo", image, "1");
  await using mirror = await TestMirror.start({ upstreams: { "docker.io": upstream } });
  for (const path of ["manifests/1", `blobs/${image.config.digest}`, "tags/list"]) {
    assert.equal((await get(`${mirror.url}/v2/demo/${path}`)).status, 404, path);
  }
});

test("what the client sends for itself never reaches the upstream", async () => {
  await using upstream = await TestUpstream.start();
  upstream.shelves.add("library/demo", image, "1");
  await using mirror = await TestMirror.start({ upstreams: { "docker.io": upstream } });
  const headers = {
    Authorization: "Bearer client-secret",
    Cookie: "a=b",
    "Accept-Encoding": "gzip",
    Accept: "text/html",
  };
  await get(`${mirror.url}/v2/demo/manifests/1`, { headers });
  await get(`${mirror.url}/v2/demo/blobs/${image.config.digest}`, { headers });
  assert.ok(upstream.requests.length >= 3);
  for (const request of upstream.requests) {
    assert.equal(request.headers.authorization, undefined);
    assert.equal(request.headers.cookie, undefined);
    assert.equal(request.headers["accept-encoding"], "identity");
    if (request.kind === "manifest") assert.match(String(request.headers.accept), /image\.index\.v1\+json.*\*\/\*/);
  }
});
