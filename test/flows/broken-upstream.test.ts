/**
 * Upstreams that lie, break off, stall or refuse: no client ever gets a complete wrong body, nothing wrong is stored,
 * nothing is left behind, and the next request tries afresh.
 */
import assert from "node:assert/strict";
import test from "node:test";
import { VirtualContent } from "../kit/content.ts";
import type { Fault } from "../kit/faults.ts";
import { get, getHashed } from "../kit/http.ts";
import { makeImage } from "../kit/image.ts";
import { TestMirror } from "../kit/mirror.ts";
import { TestUpstream } from "../kit/upstream.ts";

const MIB = 1024 * 1024;
const content = new VirtualContent(4 * MIB, 11);

const lies: readonly [string, Fault][] = [
  ["wrong bytes in the middle", { flipAtByte: 2 * MIB }],
  ["a wrong last byte", { flipAtByte: 4 * MIB - 1 }],
  ["wrong bytes and no length", { flipAtByte: 100, omitContentLength: true }],
  ["more bytes than the blob has", { trailingBytes: 10 }],
  ["more bytes and no length", { trailingBytes: 10, omitContentLength: true }],
  ["fewer bytes than the blob has", { missingBytes: 10 }],
  ["fewer bytes and no length", { missingBytes: 100_000, omitContentLength: true }],
  ["a cut at half, for good", { cutAfterBytes: 2 * MIB, ignoreRange: true }],
  ["an empty body", { missingBytes: 4 * MIB }],
];

for (const [what, fault] of lies) {
  test(`20 clients get no complete body from an upstream that sends ${what}`, async () => {
    await using upstream = await TestUpstream.start();
    upstream.shelves.addBlob("library/demo", content);
    await using mirror = await TestMirror.start({ upstreams: { "docker.io": upstream } });
    const lift = upstream.fault({ kind: "blob" }, fault);
    const url = `${mirror.url}/v2/library/demo/blobs/${content.digest}`;
    const answers = await Promise.all(Array.from({ length: 20 }, () => getHashed(url)));
    for (const answer of answers) {
      if (answer.status === 200) assert.ok(!answer.complete, "a 200 must end short");
      else assert.ok(answer.status >= 500, `status ${answer.status}`);
      assert.notEqual(answer.digest, content.digest);
    }
    await mirror.settled();
    assert.deepEqual(await mirror.stored(), []);
    lift();
    assert.equal((await getHashed(url)).digest, content.digest, "the next request tries afresh");
  });
}

test("a small blob with wrong bytes is refused with 502 before its first byte", async () => {
  await using upstream = await TestUpstream.start();
  const digest = upstream.shelves.addBlob("library/demo", Buffer.from("right"));
  upstream.fault({ kind: "blob" }, { flipAtByte: 1 });
  await using mirror = await TestMirror.start({ upstreams: { "docker.io": upstream } });
  const answer = await get(`${mirror.url}/v2/library/demo/blobs/${digest}`);
  assert.equal(answer.status, 502);
  assert.match(answer.body.toString(), /"errors":\[\{"code":/);
  await mirror.settled();
  assert.deepEqual(await mirror.stored(), []);
});

test("a body that is cut once is resumed at the byte it reached, hidden from all clients", async () => {
  await using upstream = await TestUpstream.start();
  upstream.shelves.addBlob("library/demo", content);
  upstream.fault({ kind: "blob" }, { cutAfterBytes: MIB }, { times: 1 });
  await using mirror = await TestMirror.start({ upstreams: { "docker.io": upstream } });
  const url = `${mirror.url}/v2/library/demo/blobs/${content.digest}`;
  const answers = await Promise.all(Array.from({ length: 5 }, () => getHashed(url)));
  for (const answer of answers) assert.equal(answer.digest, content.digest);
  const [, second] = upstream.matching({ kind: "blob", method: "GET" });
  assert.match(String(second?.headers.range), /^bytes=\d+-$/);
  assert.equal(upstream.count({ kind: "blob", method: "GET" }), 2);
  const bytes = upstream.matching({ kind: "blob" }).reduce((sum, request) => sum + request.bodyBytes, 0);
  assert.ok(bytes <= content.sizeBytes + MIB, "what was received is not asked for again");
});

test("a resumption that answers with the whole blob is read past what is there already", async () => {
  await using upstream = await TestUpstream.start();
  upstream.shelves.addBlob("library/demo", content);
  upstream.fault({ kind: "blob" }, { cutAfterBytes: MIB }, { times: 1 });
  upstream.fault({ kind: "blob" }, { ignoreRange: true });
  await using mirror = await TestMirror.start({ upstreams: { "docker.io": upstream } });
  const answer = await getHashed(`${mirror.url}/v2/library/demo/blobs/${content.digest}`);
  assert.equal(answer.digest, content.digest);
});

test("an upstream that is not there gives 502 for what is not stored, and what is stored is served", async () => {
  const image = makeImage();
  const upstream = await TestUpstream.start();
  upstream.shelves.add("library/demo", image, "1");
  await using mirror = await TestMirror.start({ upstreams: { "docker.io": upstream } });
  await get(`${mirror.url}/v2/demo/manifests/1`);
  await getHashed(`${mirror.url}/v2/demo/blobs/${image.layers[0]?.digest}`);
  await mirror.settled();
  await upstream.close();
  assert.equal((await get(`${mirror.url}/v2/demo/blobs/${image.layers[0]?.digest}`)).status, 200);
  assert.equal((await get(`${mirror.url}/v2/demo/manifests/${image.digest}`)).status, 200);
  const missing = await get(`${mirror.url}/v2/demo/blobs/${image.layers[1]?.digest}`);
  assert.equal(missing.status, 502);
  assert.equal((await get(`${mirror.url}/v2/demo/manifests/2`)).status, 502);
});

for (const [fault, status, code] of [
  [{ status: 404 }, 404, "MANIFEST_UNKNOWN"],
  [{ status: 401 }, 404, "MANIFEST_UNKNOWN"],
  [{ status: 403 }, 404, "MANIFEST_UNKNOWN"],
  [{ status: 429, retryAfter: "7" }, 429, "TOOMANYREQUESTS"],
  [{ status: 500, html: true }, 502, "UNAVAILABLE"],
  [{ status: 503 }, 502, "UNAVAILABLE"],
  [{ dropConnection: true }, 502, "UNAVAILABLE"],
] as const satisfies readonly [Fault, number, string][]) {
  test(`an upstream that answers ${JSON.stringify(fault)} is told as clients need it, and asked again later`, async () => {
    const image = makeImage();
    await using upstream = await TestUpstream.start();
    upstream.shelves.add("library/demo", image, "1");
    const freshness = { notFound: "0ms" };
    await using mirror = await TestMirror.start({ upstreams: { "docker.io": upstream }, upstream: { freshness } });
    const lift = upstream.fault({ kind: "manifest" }, fault);
    const answer = await get(`${mirror.url}/v2/demo/manifests/1`);
    assert.equal(answer.status, status);
    assert.equal(JSON.parse(answer.body.toString()).errors[0].code, code);
    if (status === 429) {
      assert.equal(answer.headers["retry-after"], "7");
      return;
    }
    lift();
    await mirror.until(
      async () => (await get(`${mirror.url}/v2/demo/manifests/1`)).status === 200,
      "never asked again",
    );
  });
}

test("a manifest with other bytes than its digest, or another type than it says, is refused and not stored", async () => {
  const image = makeImage();
  await using upstream = await TestUpstream.start();
  upstream.shelves.add("library/demo", image, "1");
  await using mirror = await TestMirror.start({ upstreams: { "docker.io": upstream } });
  for (const fault of [{ flipAtByte: 30 }, { contentType: "application/vnd.oci.image.index.v1+json" }]) {
    const lift = upstream.fault({ kind: "manifest", method: "GET" }, fault);
    for (const reference of ["1", image.digest]) {
      const answer = await get(`${mirror.url}/v2/demo/manifests/${reference}`);
      assert.equal(answer.status, 502, `${reference} ${JSON.stringify(fault)}`);
    }
    lift();
  }
  assert.deepEqual(await mirror.stored(), []);
  assert.equal((await get(`${mirror.url}/v2/demo/manifests/1`)).status, 200);
});

test("a manifest without a digest header is served by the digest of its bytes", async () => {
  const image = makeImage();
  await using upstream = await TestUpstream.start();
  upstream.shelves.add("library/demo", image, "1");
  upstream.fault({ kind: "manifest" }, { omitDigestHeader: true });
  await using mirror = await TestMirror.start({ upstreams: { "docker.io": upstream } });
  const answer = await get(`${mirror.url}/v2/demo/manifests/1`);
  assert.equal(answer.headers["docker-content-digest"], image.digest);
  const head = await get(`${mirror.url}/v2/demo/manifests/1`, { method: "HEAD" });
  assert.equal(head.headers["docker-content-digest"], image.digest);
});

test("a manifest over 4 MiB is refused while it is read", async () => {
  await using upstream = await TestUpstream.start();
  const big = Buffer.from(JSON.stringify({ schemaVersion: 2, manifests: [], filler: "x".repeat(4 * MIB) }));
  const digest = upstream.shelves.addManifest("library/demo", big, "application/vnd.oci.image.index.v1+json", "big");
  await using mirror = await TestMirror.start({ upstreams: { "docker.io": upstream } });
  assert.equal((await get(`${mirror.url}/v2/demo/manifests/big`)).status, 502);
  upstream.fault({ kind: "manifest" }, { omitContentLength: true });
  assert.equal((await get(`${mirror.url}/v2/demo/manifests/${digest}`)).status, 502);
  assert.deepEqual(await mirror.stored(), []);
});

test("an upstream that breaks off right after its headers is an answer, not a hang, and the mirror still stops", async () => {
  const { createServer } = await import("node:net");
  const digest = content.digest;
  for (const [what, text, end] of [
    ["FIN", "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\nabc", "end"],
    ["RST", "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\nabc", "resetAndDestroy"],
    ["a broken chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "end"],
  ] as const) {
    const server = createServer((socket) => {
      socket.on("error", () => {});
      socket.once("data", () => socket.write(text, () => socket[end]()));
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const { port } = server.address() as { port: number };
    {
      await using mirror = await TestMirror.start({ upstreams: { "docker.io": `http://127.0.0.1:${port}` } });
      const url = `${mirror.url}/v2/demo/blobs/${digest}`;
      for (const answer of await Promise.all([getHashed(url), getHashed(url)])) {
        assert.equal(answer.complete && answer.status === 200, false, what);
      }
      await mirror.settled();
    }
    await new Promise((resolve) => server.close(resolve));
  }
});
