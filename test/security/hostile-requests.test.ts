/**
 * Requests that are malformed, too big, too slow, too many, or for something that a mirror does not do.
 */
import assert from "node:assert/strict";
import { connect, type Socket } from "node:net";
import test from "node:test";
import { Crowd } from "../kit/crowd.ts";
import { get, sendRaw } from "../kit/http.ts";
import { makeImage } from "../kit/image.ts";
import { TestMirror } from "../kit/mirror.ts";
import { TestUpstream } from "../kit/upstream.ts";
import { testInOneProcess } from "../kit/workers.ts";

async function staged(
  run: (url: string, upstream: TestUpstream, mirror: TestMirror) => Promise<void>,
  options: Partial<Parameters<typeof TestMirror.start>[0]> = {},
): Promise<void> {
  await using upstream = await TestUpstream.start();
  upstream.shelves.add("library/demo", makeImage(), "1");
  await using mirror = await TestMirror.start({ upstreams: { "docker.io": upstream }, ...options });
  await run(mirror.url, upstream, mirror);
}

const sha = "a".repeat(64);

const malformed: readonly [string, number, string][] = [
  ["/v2/UPPER/manifests/1", 400, "NAME_INVALID"],
  ["/v2/a..b/manifests/1", 400, "NAME_INVALID"],
  ["/v2/-a/manifests/1", 400, "NAME_INVALID"],
  ["/v2//manifests/1", 400, "NAME_INVALID"],
  ["/v2/a//b/manifests/1", 400, "NAME_INVALID"],
  ["/v2/a/../b/manifests/1", 400, "NAME_INVALID"],
  ["/v2/%2e%2e/%2e%2e/etc/manifests/1", 400, "NAME_INVALID"],
  ["/v2/a%00b/manifests/1", 400, "NAME_INVALID"],
  ["/v2/a%ff/manifests/1", 400, "NAME_INVALID"],
  ["/v2/a%252fb/manifests/1", 400, "NAME_INVALID"],
  [`/v2/${"a".repeat(300)}/manifests/1`, 400, "NAME_INVALID"],
  ["/v2/demo/manifests/.hidden", 400, "MANIFEST_INVALID"],
  [`/v2/demo/manifests/${"t".repeat(129)}`, 400, "MANIFEST_INVALID"],
  ["/v2/demo/manifests/sha256:short", 400, "DIGEST_INVALID"],
  [`/v2/demo/manifests/sha256:${sha.toUpperCase()}`, 400, "DIGEST_INVALID"],
  ["/v2/demo/blobs/latest", 400, "DIGEST_INVALID"],
  [`/v2/demo/blobs/md5:${"a".repeat(32)}`, 400, "DIGEST_INVALID"],
  [`/v2/demo/blobs/sha256:${sha}/`, 404, "NOT_FOUND"],
  ["/v2/demo/referrers/x", 400, "DIGEST_INVALID"],
  ["/v2/demo/tags/list?n=-1", 400, "PAGINATION_NUMBER_INVALID"],
  ["/v2/demo/tags/list?n=x", 400, "PAGINATION_NUMBER_INVALID"],
  ["/", 404, "NOT_FOUND"],
  ["/v1/_ping", 404, "NOT_FOUND"],
  ["/v2/demo", 404, "NOT_FOUND"],
  ["/v2/demo/unknown/1", 404, "NOT_FOUND"],
  ["/v2/demo/tags/all", 404, "NOT_FOUND"],
  ["/metrics", 404, "NOT_FOUND"],
];

test("malformed names, tags, digests and paths are refused with the right code, and never reach the upstream", async () => {
  await staged(async (url, upstream) => {
    for (const [path, status, code] of malformed) {
      const answer = await get(url, { rawPath: path });
      assert.equal(answer.status, status, path);
      const body = JSON.parse(answer.body.toString());
      assert.equal(body.errors[0].code, code, path);
      assert.equal(answer.headers["content-type"], "application/json");
    }
    assert.equal(upstream.requests.length, 0);
  });
});

test("an encoded colon in a digest is understood", async () => {
  await staged(async (url, upstream) => {
    const digest = upstream.shelves.addBlob("library/demo", Buffer.from("x"));
    const answer = await get(url, { rawPath: `/v2/demo/blobs/${digest.replace(":", "%3A")}` });
    assert.equal(answer.status, 200);
  });
});

test("pushing and deleting are refused with 405 and Allow, wherever they are tried", async () => {
  await staged(async (url, upstream) => {
    const digest = `sha256:${sha}`;
    const tries: readonly [string, string][] = [
      ["POST", "/v2/demo/blobs/uploads/"],
      ["POST", `/v2/demo/blobs/uploads/?mount=${digest}&from=other`],
      ["PATCH", "/v2/demo/blobs/uploads/1234"],
      ["PUT", "/v2/demo/blobs/uploads/1234"],
      ["GET", "/v2/demo/blobs/uploads/1234"],
      ["PUT", "/v2/demo/manifests/1"],
      ["DELETE", "/v2/demo/manifests/1"],
      ["DELETE", `/v2/demo/blobs/${digest}`],
      ["DELETE", "/v2/DEMO//manifests/1"],
      ["OPTIONS", "/v2/"],
    ];
    for (const [method, path] of tries) {
      const answer = await get(url, { method, rawPath: path, ...(method === "PUT" ? { body: "{}" } : {}) });
      assert.equal(answer.status, 405, `${method} ${path}`);
      assert.equal(answer.headers.allow, "GET, HEAD");
      assert.equal(JSON.parse(answer.body.toString()).errors[0].code, "UNSUPPORTED");
    }
    assert.equal(upstream.requests.length, 0);
  });
});

test("a GET with a body is refused, and what follows on the connection is not taken for a request", async () => {
  await staged(async (url) => {
    const text = await sendRaw(
      url,
      "GET /v2/ HTTP/1.1\r\nHost: x\r\nContent-Length: 30\r\n\r\nGET /v2/_catalog HTTP/1.1\r\n\r\n",
    );
    assert.match(text, /^HTTP\/1\.1 400 /);
    assert.equal(text.match(/HTTP\/1\.1/g)?.length, 1);
  });
});

test("headers that are too large are refused with 431, garbage with 400", async () => {
  await staged(async (url) => {
    const large = await sendRaw(url, `GET /v2/ HTTP/1.1\r\nHost: x\r\nX-Filler: ${"f".repeat(20_000)}\r\n\r\n`);
    assert.match(large, /^HTTP\/1\.1 431 /);
    assert.match(await sendRaw(url, "\x16\x03\x01\x02\x00garbage\r\n\r\n"), /^HTTP\/1\.1 400 /);
    const twice = "GET /v2/ HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert.match(await sendRaw(url, twice), /^HTTP\/1\.1 400 /);
    assert.equal((await get(`${url}/v2/`)).status, 200);
  });
});

test("headers that never end are cut off after the time for headers", async () => {
  await staged(
    async (url) => {
      const text = await sendRaw(url, "GET /v2/ HTTP/1.1\r\nHost: x\r\nX-Slow: ", 10_000);
      assert.match(text, /^HTTP\/1\.1 408 /);
    },
    { limits: { headersTimeoutMs: 300 } },
  );
});

const testAlone = testInOneProcess("the limit is of each process");

testAlone("connections beyond the limit are closed, and those within it are served", async () => {
  await staged(
    async (url) => {
      const { port } = new URL(url);
      const sockets = await Promise.all(Array.from({ length: 60 }, () => idle(Number(port))));
      await new Promise((resolve) => setTimeout(resolve, 100));
      const open = sockets.filter((socket) => !socket.destroyed && socket.readyState === "open").length;
      assert.ok(open <= 50, `${open} connections stayed open`);
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => setTimeout(resolve, 50));
      assert.equal((await get(`${url}/v2/`)).status, 200);
    },
    { limits: { maxConnections: 50 } },
  );
});

test("ten thousand idle connections do not keep anyone from being served", async () => {
  await staged(async (url) => {
    await using _ = await Crowd.gather(Number(new URL(url).port), 10_000);
    assert.equal((await get(`${url}/v2/demo/manifests/1`)).status, 200);
    assert.equal((await get(`${url}/v2/demo/manifests/1`)).status, 200);
  });
});

test("a registry that is not configured is 404 and is never asked, by whatever form it is named", async () => {
  await using other = await TestUpstream.start();
  await staged(async (url, upstream) => {
    const host = new URL(other.url).host;
    for (const path of [
      `/v2/library/demo/manifests/1?ns=${host}`,
      `/v2/library/demo/manifests/1?ns=evil.example`,
      `/${host}/v2/library/demo/manifests/1`,
      `/v2/${host}/library/demo/manifests/1`,
      `/v2/evil.example/library/demo/manifests/1`,
      `/v2/?ns=evil.example`,
      `/evil.example/v2/`,
    ]) {
      const answer = await get(url, { rawPath: path });
      assert.equal(answer.status, 404, path);
      const [error] = JSON.parse(answer.body.toString()).errors;
      assert.equal(error.code, "NAME_UNKNOWN", path);
      assert.match(error.message, /upstreams/);
    }
    assert.equal(other.requests.length, 0);
    assert.equal(upstream.requests.length, 0);
  });
});

test("a mirror that is its own upstream answers 508 instead of asking itself for ever", async () => {
  const first = await TestMirror.start({ upstreams: { "docker.io": "http://127.0.0.1:9" } });
  const port = new URL(first.url).port;
  await first[Symbol.asyncDispose]();
  await using loop = await TestMirror.start({
    upstreams: { "docker.io": first.url },
    config: { listen: `127.0.0.1:${port}` },
  });
  const answer = await get(`${loop.url}/v2/library/demo/manifests/1`);
  assert.equal(answer.status, 502);
  await loop.until(() => loop.answered.some((fact) => fact.status === 508), "nobody was answered 508");
  assert.ok(loop.answered.length < 5);
});

test("a mirror behind another mirror is no loop", async () => {
  await using upstream = await TestUpstream.start();
  upstream.shelves.add("library/demo", makeImage(), "1");
  await using central = await TestMirror.start({ upstreams: { "docker.io": upstream } });
  await using edge = await TestMirror.start({ upstreams: { "docker.io": central.url } });
  assert.equal((await get(`${edge.url}/v2/demo/manifests/1`)).status, 200);
});

test("repositories that the configuration denies are refused, cached or not", async () => {
  await using upstream = await TestUpstream.start();
  upstream.shelves.add("team/secret", makeImage(), "1");
  upstream.shelves.add("team/app", makeImage(), "1");
  await using mirror = await TestMirror.start({
    upstreams: { "docker.io": upstream },
    upstream: { repositories: { allow: ["team/**"], deny: ["team/secret"] } },
  });
  assert.equal((await get(`${mirror.url}/v2/team/app/manifests/1`)).status, 200);
  assert.equal((await get(`${mirror.url}/v2/team/secret/manifests/1`)).status, 403);
  assert.equal((await get(`${mirror.url}/v2/library/demo/manifests/1`)).status, 403);
  assert.equal(
    upstream.count((request) => request.repository !== "team/app"),
    0,
  );
});

function idle(port: number): Promise<Socket> {
  return new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1", () => resolve(socket));
    socket.on("error", () => resolve(socket));
  });
}
