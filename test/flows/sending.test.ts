/**
 * Bodies as they leave, with the kernel's help and without: the same bytes, and the connection usable afterwards.
 */
import assert from "node:assert/strict";
import { closeSync, openSync, writeFileSync } from "node:fs";
import { Agent, request } from "node:http";
import { request as requestTls, Agent as TlsAgent } from "node:https";
import { connect, createServer, type Socket } from "node:net";
import { join } from "node:path";
import test from "node:test";
import { openKernelCopy } from "../../src/http/kernelcopy.ts";
import { seededBytes, VirtualContent } from "../kit/content.ts";
import { get, getHashed, openSocket } from "../kit/http.ts";
import { TestMirror } from "../kit/mirror.ts";
import { makeTempDir } from "../kit/temp.ts";
import { TestUpstream } from "../kit/upstream.ts";

const MIB = 1024 * 1024;
const content = new VirtualContent(24 * MIB + 12_345, 101);

for (const sendfile of [true, false]) {
  const how = sendfile ? "with sendfile" : "without sendfile";

  test(`a stored blob is sent whole, in ranges and in parts, ${how}`, async () => {
    await using upstream = await TestUpstream.start();
    upstream.shelves.addBlob("library/demo", content);
    await using mirror = await TestMirror.start({ upstreams: { "docker.io": upstream }, config: { sendfile } });
    const url = `${mirror.url}/v2/demo/blobs/${content.digest}`;
    await getHashed(url);
    await mirror.settled();
    const whole = await Promise.all(Array.from({ length: 8 }, () => getHashed(url)));
    for (const answer of whole) assert.equal(answer.digest, content.digest);
    for (const [start, end] of [
      [1, content.sizeBytes - 1],
      [5 * MIB + 1, 17 * MIB + 2],
      [23 * MIB, content.sizeBytes],
    ] as const) {
      const answer = await get(url, { headers: { Range: `bytes=${start}-${end - 1}` } });
      assert.ok(answer.body.equals(Buffer.concat([...content.read(start, end)])), `${start}-${end}`);
    }
    const parts = await get(url, { headers: { Range: "bytes=0-0,1000000-3999999,9000000-13999999" } });
    assert.ok(parts.complete);
    assert.ok(parts.body.includes(Buffer.concat([...content.read(1_000_000, 4_000_000)])));
    assert.ok(parts.body.includes(Buffer.concat([...content.read(9_000_000, 14_000_000)])));
    const [last] = mirror.answered.filter((fact) => fact.status === 200).slice(-1);
    assert.equal(last?.bytes, content.sizeBytes, "what the kernel copied is counted");
  });

  test(`followers of a growing blob get its bytes as they come, ${how}`, async () => {
    await using upstream = await TestUpstream.start();
    upstream.shelves.addBlob("library/demo", content);
    await using mirror = await TestMirror.start({ upstreams: { "docker.io": upstream }, config: { sendfile } });
    const gate = upstream.gate({ kind: "blob" }, 10 * MIB);
    const url = `${mirror.url}/v2/demo/blobs/${content.digest}`;
    const early = [getHashed(url), getHashed(url, { bytesPerSecond: 60 * MIB })];
    await gate.reached;
    const late = getHashed(url);
    gate.release();
    for (const answer of await Promise.all([...early, late])) assert.equal(answer.digest, content.digest);
  });

  test(`a slow reader on a kept connection gets one blob after another, ${how}`, async () => {
    await using upstream = await TestUpstream.start();
    const second = upstream.shelves.addBlob("library/demo", seededBytes(3 * MIB, 102));
    upstream.shelves.addBlob("library/demo", content);
    await using mirror = await TestMirror.start({ upstreams: { "docker.io": upstream }, config: { sendfile } });
    const isTls = mirror.url.startsWith("https:");
    const kept = { keepAlive: true, maxSockets: 1 };
    const agent = isTls ? new TlsAgent({ ...kept, rejectUnauthorized: false }) : new Agent(kept);
    const sockets = new Set<Socket>();
    for (const [digest, size] of [
      [content.digest, content.sizeBytes],
      [second, 3 * MIB],
      [content.digest, content.sizeBytes],
    ] as const) {
      let received = 0;
      await new Promise<void>((resolve, reject) => {
        const sent = (isTls ? requestTls : request)(`${mirror.url}/v2/demo/blobs/${digest}`, { agent }, (response) => {
          sockets.add(response.socket);
          response.on("data", (chunk: Buffer) => {
            received += chunk.length;
            response.pause();
            setImmediate(() => response.resume());
          });
          response.on("end", resolve);
          response.on("error", reject);
        });
        sent.on("error", reject);
        sent.end();
      });
      assert.equal(received, size);
    }
    assert.equal(sockets.size, 1, "the connection was kept");
    agent.destroy();
  });

  test(`pipelined requests are answered in order and whole, ${how}`, async () => {
    const bytes = seededBytes(2 * MIB, 103);
    await using upstream = await TestUpstream.start();
    const digest = upstream.shelves.addBlob("library/demo", bytes);
    await using mirror = await TestMirror.start({ upstreams: { "docker.io": upstream }, config: { sendfile } });
    const path = `/v2/demo/blobs/${digest}`;
    await get(mirror.url + path);
    await mirror.settled();
    const chunks: Buffer[] = [];
    await new Promise<void>((resolve) => {
      const socket = openSocket(mirror.url);
      const one = `GET ${path} HTTP/1.1\r\nHost: x\r\n`;
      socket.write(`${one}\r\n${one}\r\n${one}Connection: close\r\n\r\n`);
      socket.on("data", (chunk: Buffer) => chunks.push(chunk));
      socket.on("close", () => resolve());
    });
    let rest = Buffer.concat(chunks);
    for (let at = 0; at < 3; at += 1) {
      const head = rest.indexOf("\r\n\r\n") + 4;
      assert.match(rest.subarray(0, head).toString("latin1"), /^HTTP\/1\.1 200 /);
      assert.ok(rest.subarray(head, head + bytes.length).equals(bytes));
      rest = rest.subarray(head + bytes.length);
    }
    assert.equal(rest.length, 0);
  });

  test(`clients that leave in the middle leave no descriptor behind, ${how}`, async () => {
    const { readdir } = await import("node:fs/promises");
    await using upstream = await TestUpstream.start();
    upstream.shelves.addBlob("library/demo", content);
    await using mirror = await TestMirror.start({ upstreams: { "docker.io": upstream }, config: { sendfile } });
    const url = `${mirror.url}/v2/demo/blobs/${content.digest}`;
    await getHashed(url);
    await mirror.settled();
    const before = (await readdir("/proc/self/fd")).length;
    await Promise.all(Array.from({ length: 30 }, (_, at) => getHashed(url, { leaveAfterBytes: 1 + at * 500_000 })));
    await mirror.until(async () => (await readdir("/proc/self/fd")).length <= before, "descriptors are left");
    assert.equal((await getHashed(url)).digest, content.digest);
  });
}

test("a connection on which the kernel alone writes is not idle", async () => {
  await using upstream = await TestUpstream.start();
  upstream.shelves.addBlob("library/demo", content);
  await using mirror = await TestMirror.start({ upstreams: { "docker.io": upstream }, limits: { stallMs: 400 } });
  upstream.fault({ kind: "blob" }, { bytesPerSecond: 16 * MIB });
  const answer = await getHashed(`${mirror.url}/v2/demo/blobs/${content.digest}`);
  assert.equal(answer.digest, content.digest);
});

test("the kernel copies what is cached to a socket that takes it, and nothing where it cannot", async () => {
  const kernelCopy = await openKernelCopy();
  if (process.platform !== "linux") {
    assert.equal(kernelCopy, undefined);
    return;
  }
  assert.ok(kernelCopy, "koffi is installed with the development packages");
  await using dir = await makeTempDir("copy");
  const bytes = seededBytes(MIB, 104);
  writeFileSync(join(dir.path, "blob"), bytes);
  const file = openSync(join(dir.path, "blob"), "r");
  const chunks: Buffer[] = [];
  const server = createServer((socket) => {
    const moved = kernelCopy.copy(socket, file, 1000, 100_000);
    assert.equal(moved, 100_000);
    assert.equal(kernelCopy.copy(socket, file, 2 * MIB, 1000), 0, "past the end of the file");
    assert.ok(kernelCopy.isCached(file, 0, MIB), "written just now");
    assert.equal(kernelCopy.isCached(file, MIB, 1), false, "past the end of the file");
    socket.write("queued".repeat(1_000_000));
    assert.equal(kernelCopy.copy(socket, file, 0, 1000), 0, "what is queued has to leave first");
    socket.destroy();
    assert.equal(kernelCopy.copy(socket, file, 0, 1000), 0, "a destroyed socket has no descriptor");
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as { port: number };
  await new Promise<void>((resolve) => {
    const socket = connect(port, "127.0.0.1");
    socket.on("data", (chunk: Buffer) => chunks.push(chunk));
    socket.on("error", () => {});
    socket.on("close", () => resolve());
  });
  assert.ok(Buffer.concat(chunks).subarray(0, 100_000).equals(bytes.subarray(1000, 101_000)));
  closeSync(file);
  await new Promise((resolve) => server.close(resolve));
});
