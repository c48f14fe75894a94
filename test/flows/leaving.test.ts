/**
 * Clients that leave, stop reading, or end their half of the connection: cheap, no error, and nothing is left of them.
 */
import assert from "node:assert/strict";
import { readdir } from "node:fs/promises";
import { connect } from "node:net";
import { test } from "node:test";
import { seededBytes, VirtualContent } from "../kit/content.ts";
import { get, getHashed, open } from "../kit/http.ts";
import { TestMirror } from "../kit/mirror.ts";
import { TestUpstream } from "../kit/upstream.ts";

const MIB = 1024 * 1024;
const content = new VirtualContent(32 * MIB, 301);
const PATH = `/v2/demo/blobs/${content.digest}`;

const descriptors = async () => (await readdir("/proc/self/fd")).length;

test("clients that abort after one chunk were not served, are no errors, and the blob is fetched once all the same", async () => {
  await using upstream = await TestUpstream.start();
  upstream.shelves.addBlob("library/demo", content);
  await using mirror = await TestMirror.start({ upstreams: { "docker.io": upstream } });
  await Promise.all(Array.from({ length: 20 }, () => getHashed(mirror.url + PATH, { leaveAfterBytes: 1 })));
  await mirror.settled();
  await mirror.until(() => mirror.answered.length === 20, "not all were noticed");
  for (const { aborted, error, status } of mirror.answered) {
    assert.equal(aborted, true);
    assert.equal(error, undefined);
    assert.equal(status, 200);
  }
  assert.equal(upstream.count({ kind: "blob", method: "GET" }), 1);
  assert.equal((await getHashed(mirror.url + PATH)).digest, content.digest);
  const metrics = (await get(`${mirror.adminUrl}/metrics`)).body.toString();
  const counted = (status: number) =>
    metrics
      .split("\n")
      .filter((line) => line.startsWith("wharfinger_requests_total{") && line.includes(`status="${status}"`))
      .reduce((sum, line) => sum + Number(line.split(" ").at(-1)), 0);
  assert.equal(counted(499), 20);
  assert.equal(counted(200), 1);
});

test("a client that stops reading is let go after the time for that, and nobody else notices", async () => {
  await using upstream = await TestUpstream.start();
  upstream.shelves.addBlob("library/demo", content);
  await using mirror = await TestMirror.start({ upstreams: { "docker.io": upstream }, limits: { stallMs: 500 } });
  await getHashed(mirror.url + PATH);
  await mirror.settled();
  const before = await descriptors();
  const stuck = await Promise.all(Array.from({ length: 10 }, () => open(mirror.url + PATH)));
  for (const answer of stuck) answer.on("error", () => {});
  assert.equal((await getHashed(mirror.url + PATH)).digest, content.digest);
  await mirror.until(() => mirror.answered.filter(({ aborted }) => aborted).length === 10, "they hold on");
  for (const answer of stuck) answer.destroy();
  await mirror.until(async () => (await descriptors()) <= before, "descriptors are left");
  assert.equal((await getHashed(mirror.url + PATH)).digest, content.digest);
});

test("a client that ends its half of the connection while it waits has left; what it asked for is kept", async () => {
  const bytes = seededBytes(3 * MIB, 302);
  await using upstream = await TestUpstream.start();
  const digest = upstream.shelves.addBlob("library/demo", bytes);
  await using mirror = await TestMirror.start({ upstreams: { "docker.io": upstream }, config: { tls: {} } });
  const gate = upstream.gate({ kind: "blob" }, MIB);
  const closed = new Promise<void>((resolve) => {
    const socket = connect(Number(new URL(mirror.url).port), "127.0.0.1", () => {
      socket.write(`GET /v2/demo/blobs/${digest} HTTP/1.1\r\nHost: mirror\r\n\r\n`);
      void gate.reached.then(() => socket.end());
    });
    socket.resume();
    socket.on("error", () => {});
    socket.on("close", () => resolve());
  });
  await gate.reached;
  await closed;
  gate.release();
  await mirror.settled();
  await mirror.until(() => mirror.answered.length === 1, "it was not noticed");
  assert.equal(mirror.answered[0]?.aborted, true);
  const answer = await get(`${mirror.url}/v2/demo/blobs/${digest}`);
  assert.ok(answer.body.equals(bytes));
  assert.equal(upstream.count({ kind: "blob", method: "GET" }), 1);
});
