/**
 * Ranges on stored, filling and cold blobs (RFC 9110 §14; the expectations of the distribution conformance suite).
 */
import assert from "node:assert/strict";
import test from "node:test";
import { seededBytes, VirtualContent } from "../kit/content.ts";
import { get, getHashed } from "../kit/http.ts";
import { TestMirror } from "../kit/mirror.ts";
import { TestUpstream } from "../kit/upstream.ts";

const MIB = 1024 * 1024;
const bytes = seededBytes(2048, 21);

async function withBlob(
  run: (url: string, upstream: TestUpstream, mirror: TestMirror) => Promise<void>,
): Promise<void> {
  await using upstream = await TestUpstream.start();
  const digest = upstream.shelves.addBlob("library/demo", bytes);
  await using mirror = await TestMirror.start({ upstreams: { "docker.io": upstream } });
  await run(`${mirror.url}/v2/library/demo/blobs/${digest}`, upstream, mirror);
}

const satisfiable: readonly [string, number, number][] = [
  ["bytes=500-1499", 500, 1499],
  ["bytes=500-", 500, 2047],
  ["bytes=-500", 1548, 2047],
  ["bytes=2000-5000", 2000, 2047],
  ["bytes=0-0", 0, 0],
  ["bytes=-5000", 0, 2047],
  ["BYTES = 0-1", 0, 1],
];

for (const state of ["cold", "stored"] as const) {
  test(`ranges of a ${state} blob`, async () => {
    for (const [range, start, end] of satisfiable) {
      await withBlob(async (url, _upstream, mirror) => {
        if (state === "stored") {
          await get(url);
          await mirror.settled();
        }
        const answer = await get(url, { headers: { Range: range } });
        assert.equal(answer.status, 206, range);
        assert.equal(answer.headers["content-range"], `bytes ${start}-${end}/2048`);
        assert.equal(answer.headers["content-length"], String(end - start + 1));
        assert.deepEqual(answer.body, bytes.subarray(start, end + 1));
      });
    }
  });
}

test("what cannot be satisfied is 416 with the size, what is not understood is ignored", async () => {
  await withBlob(async (url) => {
    for (const range of ["bytes=5000-10000", "bytes=500-0", "bytes=2048-", "bytes=-0"]) {
      const answer = await get(url, { headers: { Range: range } });
      assert.equal(answer.status, 416, range);
      assert.equal(answer.headers["content-range"], "bytes */2048");
    }
    const many = Array.from({ length: 100 }, (_, at) => `${at * 2}-${at * 2}`).join(",");
    for (const range of ["lines=1-2", "bytes=a-b", "bytes=", "bytes=0-10,5-20", `bytes=${many}`]) {
      const answer = await get(url, { headers: { Range: range } });
      assert.equal(answer.status, 200, range);
      assert.deepEqual(answer.body, bytes);
    }
  });
});

test("several ranges come as multipart/byteranges of the declared length", async () => {
  await withBlob(async (url) => {
    const answer = await get(url, { headers: { Range: "bytes=0-9,100-109,-5" } });
    assert.equal(answer.status, 206);
    assert.ok(answer.complete);
    const boundary = /^multipart\/byteranges; boundary=([0-9a-f]+)$/.exec(String(answer.headers["content-type"]))?.[1];
    const parts = answer.body.toString("latin1").split(`--${boundary}`).slice(1, -1);
    const found = parts.map((part) => {
      const [head = "", ...rest] = part.split("\r\n\r\n");
      const range = /Content-Range: (.*)/.exec(head)?.[1];
      return [range, rest.join("\r\n\r\n").replace(/\r\n$/, "")];
    });
    const text = (start: number, end: number) => bytes.subarray(start, end).toString("latin1");
    assert.deepEqual(found, [
      ["bytes 0-9/2048", text(0, 10)],
      ["bytes 100-109/2048", text(100, 110)],
      ["bytes 2043-2047/2048", text(2043, 2048)],
    ]);
  });
});

test("If-Range counts only with the very digest", async () => {
  await withBlob(async (url) => {
    const etag = String((await get(url, { method: "HEAD" })).headers.etag);
    const status = async (ifRange: string) =>
      (await get(url, { headers: { Range: "bytes=0-9", "If-Range": ifRange } })).status;
    assert.equal(await status(etag), 206);
    assert.equal(await status(`W/${etag}`), 200);
    assert.equal(await status('"other"'), 200);
    assert.equal(await status("Wed, 21 Oct 2026 07:28:00 GMT"), 200);
  });
});

test("HEAD ignores Range", async () => {
  await withBlob(async (url) => {
    const answer = await get(url, { method: "HEAD", headers: { Range: "bytes=0-9" } });
    assert.equal(answer.status, 200);
    assert.equal(answer.headers["content-length"], "2048");
  });
});

test("a range near the start of a cold blob is answered as soon as its bytes are there", async () => {
  const content = new VirtualContent(64 * MIB, 22);
  await using upstream = await TestUpstream.start();
  upstream.shelves.addBlob("library/demo", content);
  await using mirror = await TestMirror.start({ upstreams: { "docker.io": upstream } });
  const gate = upstream.gate({ kind: "blob" }, MIB);
  const url = `${mirror.url}/v2/library/demo/blobs/${content.digest}`;
  const answer = await get(url, { headers: { Range: "bytes=1000-1999" } });
  assert.equal(answer.status, 206);
  assert.equal(answer.headers["content-range"], `bytes 1000-1999/${content.sizeBytes}`);
  assert.deepEqual(answer.body, Buffer.concat([...content.read(1000, 2000)]));
  assert.equal(upstream.count({ kind: "blob", method: "GET" }), 1, "the rest of the blob is still held by the gate");
  gate.release();
});

test("a range far ahead of the fill goes to the upstream as a range, while the fill goes on", async () => {
  const content = new VirtualContent(64 * MIB, 23);
  await using upstream = await TestUpstream.start();
  upstream.shelves.addBlob("library/demo", content);
  await using mirror = await TestMirror.start({ upstreams: { "docker.io": upstream } });
  const gate = upstream.gate({ kind: "blob", ranged: false }, MIB);
  const url = `${mirror.url}/v2/library/demo/blobs/${content.digest}`;
  const start = 60 * MIB;
  const answer = await get(url, { headers: { Range: `bytes=${start}-${start + 999}` } });
  assert.equal(answer.status, 206);
  assert.equal(answer.headers["cache-status"], "wharfinger; fwd=partial");
  assert.deepEqual(answer.body, Buffer.concat([...content.read(start, start + 1000)]));
  const [passed] = upstream.matching({ kind: "blob", ranged: true });
  assert.equal(passed?.headers.range, `bytes=${start}-${start + 999}`);
  gate.release();
  assert.equal((await getHashed(url)).digest, content.digest);
});

for (const isWrong of [false, true]) {
  const what = isWrong ? "is not completed with the wrong bytes of the upstream" : "follows the fill";
  test(`a range far ahead of the fill that reaches the end ${what}`, async () => {
    const content = new VirtualContent(64 * MIB, 28);
    await using upstream = await TestUpstream.start();
    upstream.shelves.addBlob("library/demo", content);
    const start = 60 * MIB;
    if (isWrong) upstream.fault({ kind: "blob", method: "GET" }, { flipAtByte: start });
    await using mirror = await TestMirror.start({ upstreams: { "docker.io": upstream } });
    const gate = upstream.gate({ kind: "blob", method: "GET", ranged: false }, MIB);
    const url = `${mirror.url}/v2/library/demo/blobs/${content.digest}`;
    const whole = getHashed(url);
    await gate.reached;
    const ranges = [`bytes=${start}-`, "bytes=-10", `bytes=0-9,${start}-`];
    const answers = ranges.map((range) => getHashed(url, { headers: { Range: range } }));
    // Another, which does not reach it, may have come by itself before.
    const near = await get(url, { headers: { Range: `bytes=${start - 1000}-${start - 1}` } });
    assert.deepEqual(near.body, Buffer.concat([...content.read(start - 1000, start)]));
    gate.release();
    assert.equal((await whole).complete, !isWrong);
    for (const { status, complete } of await Promise.all(answers)) {
      // Nothing of it may have left yet.
      assert.ok(isWrong ? status === 502 || !complete : status === 206 && complete);
    }
    assert.equal(upstream.count({ kind: "blob", method: "GET", ranged: true }), 1);
  });
}

test("an upstream that ignores ranges makes a far range wait for the fill instead of a wrong answer", async () => {
  const content = new VirtualContent(40 * MIB, 24);
  await using upstream = await TestUpstream.start();
  upstream.shelves.addBlob("library/demo", content);
  upstream.fault({ kind: "blob" }, { ignoreRange: true });
  await using mirror = await TestMirror.start({ upstreams: { "docker.io": upstream } });
  const gate = upstream.gate({ kind: "blob", ranged: false }, MIB, 1);
  const url = `${mirror.url}/v2/library/demo/blobs/${content.digest}`;
  const start = 39 * MIB;
  const answer = get(url, { headers: { Range: `bytes=${start}-${start + 999}` } });
  await upstream.waitFor({ kind: "blob", ranged: true });
  gate.release();
  assert.deepEqual((await answer).body, Buffer.concat([...content.read(start, start + 1000)]));
  assert.equal((await answer).status, 206);
});

test("chunks as containerd 2 fetches them, open-ended and left early, give the whole blob and one fill", async () => {
  const content = new VirtualContent(12 * MIB, 25);
  await using upstream = await TestUpstream.start();
  upstream.shelves.addBlob("library/demo", content);
  await using mirror = await TestMirror.start({ upstreams: { "docker.io": upstream } });
  const url = `${mirror.url}/v2/library/demo/blobs/${content.digest}`;
  const { open } = await import("../kit/http.ts");
  const chunk = async (start: number): Promise<Buffer> => {
    const response = await open(url, { headers: { Range: `bytes=${start}-` } });
    const parts: Buffer[] = [];
    let size = 0;
    for await (const part of response as AsyncIterable<Buffer>) {
      parts.push(part);
      size += part.length;
      if (size >= 4 * MIB) break;
    }
    return Buffer.concat(parts).subarray(0, 4 * MIB);
  };
  const chunks = await Promise.all([chunk(0), chunk(4 * MIB), chunk(8 * MIB)]);
  assert.deepEqual(Buffer.concat(chunks), Buffer.concat([...content.read(0, content.sizeBytes)]));
  assert.equal(upstream.count({ kind: "blob", method: "GET" }), 1);
});

test("passed ranges whose readers stand still do not keep other blobs from being fetched", async () => {
  const content = new VirtualContent(96 * MIB, 26);
  const { open } = await import("../kit/http.ts");
  await using upstream = await TestUpstream.start();
  upstream.shelves.addBlob("library/demo", content);
  const other = upstream.shelves.addBlob("library/demo", seededBytes(MIB, 27));
  await using mirror = await TestMirror.start({
    upstreams: { "docker.io": upstream },
    upstream: { limits: { connections: 4 } },
  });
  const gate = upstream.gate({ kind: "blob", ranged: false, reference: content.digest }, MIB);
  const url = `${mirror.url}/v2/demo/blobs/${content.digest}`;
  const first = getHashed(url);
  await gate.reached;
  const stalled = Array.from({ length: 3 }, (_, at) =>
    open(url, { headers: { Range: `bytes=${(20 + at) * MIB}-${90 * MIB}` } }).catch(() => undefined),
  );
  await upstream.waitFor({ kind: "blob", ranged: true });
  assert.equal((await get(`${mirror.url}/v2/demo/blobs/${other}`)).status, 200);
  gate.release();
  assert.equal((await first).digest, content.digest);
  for (const response of await Promise.all(stalled)) response?.destroy();
});
