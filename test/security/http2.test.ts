/**
 * HTTP/2 clients that go away, stand still, or flood: each costs itself its stream or connection, and nobody else.
 */
import assert from "node:assert/strict";
import { once } from "node:events";
import { type ClientHttp2Session, type ClientHttp2Stream, connect, constants, type Settings } from "node:http2";
import { connect as connectPlain, type Socket } from "node:net";
import test from "node:test";
import { connect as connectTls, type TLSSocket } from "node:tls";
import { VirtualContent } from "../kit/content.ts";
import { get } from "../kit/http.ts";
import { TestMirror, type TestMirrorOptions } from "../kit/mirror.ts";
import { pemPath } from "../kit/mode.ts";
import { openResources, residueSince } from "../kit/residue.ts";
import { TestUpstream } from "../kit/upstream.ts";

const MIB = 1024 * 1024;
const content = new VirtualContent(24 * MIB + 5, 201);
const path = `/v2/demo/blobs/${content.digest}`;

/** A mirror that has the blob stored. */
async function staged(
  run: (mirror: TestMirror, upstream: TestUpstream) => Promise<void>,
  options: Partial<TestMirrorOptions> & { readonly cold?: boolean } = {},
): Promise<void> {
  const baseline = openResources();
  {
    await using upstream = await TestUpstream.start();
    upstream.shelves.addBlob("library/demo", content);
    const tls = { cert: pemPath("server"), key: pemPath("server-key") };
    await using mirror = await TestMirror.start({ upstreams: { "docker.io": upstream }, config: { tls }, ...options });
    if (options.cold !== true) {
      await get(mirror.url + path);
      await mirror.settled();
      mirror.answered.length = 0;
    }
    await run(mirror, upstream);
  }
  assert.deepEqual(await residueSince(baseline), []);
}

function session(mirror: TestMirror, settings: Settings = {}): ClientHttp2Session {
  const opened = connect(mirror.url, { rejectUnauthorized: false, settings });
  opened.on("error", () => {});
  return opened;
}

function ask(from: ClientHttp2Session, target: string): ClientHttp2Stream {
  const stream = from.request({ ":path": target });
  stream.on("error", () => {});
  return stream;
}

/** Its end, whether or not that is an error. */
function gone(what: ClientHttp2Session | ClientHttp2Stream | Socket): Promise<void> {
  return new Promise((resolve) => what.once("close", () => resolve()));
}

/** The body's size, and how the stream ended. */
async function read(stream: ClientHttp2Stream): Promise<{ bytes: number; code: number; ended: boolean }> {
  let bytes = 0;
  let ended = false;
  stream.on("data", (chunk: Buffer) => {
    bytes += chunk.length;
  });
  stream.on("end", () => {
    ended = stream.rstCode === constants.NGHTTP2_NO_ERROR;
  });
  await gone(stream);
  return { bytes, code: stream.rstCode ?? 0, ended };
}

const frame = (type: number, flags: number, stream: number, payload: Buffer): Buffer => {
  const head = Buffer.alloc(9);
  head.writeUIntBE(payload.length, 0, 3);
  head.writeUInt8(type, 3);
  head.writeUInt8(flags, 4);
  head.writeUInt32BE(stream, 5);
  return Buffer.concat([head, payload]);
};
const PREFACE = Buffer.concat([Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), frame(4, 0, 0, Buffer.alloc(0))]);

/** A connection that has agreed to HTTP/2, for frames as they are. */
async function rawSession(mirror: TestMirror): Promise<TLSSocket> {
  const port = Number(new URL(mirror.url).port);
  const socket = connectTls({ host: "127.0.0.1", port, rejectUnauthorized: false, ALPNProtocols: ["h2"] });
  socket.on("error", () => {});
  await once(socket, "secureConnect");
  socket.resume();
  return socket;
}

async function isServed(mirror: TestMirror): Promise<void> {
  assert.equal((await get(`${mirror.url}/v2/`)).status, 200);
}

test("answers over HTTP/2 have no headers of a connection, and the authority selects the upstream", () =>
  staged(
    async (mirror) => {
      const opened = session(mirror);
      const stream = opened.request({ ":path": "/v2/demo/blobs/x", ":authority": "named.example" });
      const [headers] = await once(stream, "response");
      for (const name of ["connection", "keep-alive", "transfer-encoding"]) assert.equal(headers[name], undefined);
      assert.equal(headers.via, "1.1 wharfinger");
      await read(stream);
      const body = opened.request({ ":method": "POST", ":path": "/v2/demo/blobs/uploads/" }, { endStream: false });
      body.on("error", () => {});
      const [refused] = await once(body, "response");
      assert.equal(refused[":status"], 405);
      body.destroy();
      const withBody = opened.request({ ":path": "/v2/" }, { endStream: false });
      withBody.on("error", () => {});
      const [answer] = await once(withBody, "response");
      assert.equal(answer[":status"], 400);
      withBody.destroy();
      const head = opened.request({ ":method": "HEAD", ":path": path });
      const [described] = await once(head, "response");
      assert.equal(described["content-length"], String(content.sizeBytes));
      await gone(head.resume());
      opened.destroy();
      await mirror.until(() => mirror.answered.length === 4, "not all was answered");
      assert.ok(mirror.answered.every(({ aborted }) => !aborted));
      assert.ok(mirror.answered.every(({ remoteAddress }) => remoteAddress === "127.0.0.1"));
    },
    { cold: true },
  ));

test("a body that must not end is reset after what was written, and never ended", () =>
  staged(
    async (mirror, upstream) => {
      upstream.fault({ kind: "blob", method: "GET" }, { flipAtByte: content.sizeBytes - 1 });
      const opened = session(mirror, { initialWindowSize: 32 * MIB });
      const { bytes, code, ended } = await read(ask(opened, path));
      assert.equal(code, constants.NGHTTP2_INTERNAL_ERROR);
      assert.equal(ended, false);
      assert.ok(bytes < content.sizeBytes);
      await isServed(mirror);
      assert.equal((await read(ask(opened, "/v2/"))).ended, true, "the connection goes on");
      opened.destroy();
    },
    { cold: true },
  ));

test("a window that is never opened holds two chunks and no more, and other streams go on", () =>
  staged(async (mirror) => {
    const opened = session(mirror, { initialWindowSize: 0 });
    const stuck = ask(opened, path);
    await once(stuck, "response");
    opened.settings({ initialWindowSize: 0 });
    assert.ok((await get(`${mirror.url}/v2/`)).complete);
    await new Promise((resolve) => setTimeout(resolve, 50));
    stuck.close(constants.NGHTTP2_CANCEL);
    await mirror.until(() => mirror.answered.some(({ kind }) => kind === "blob"), "the stream was not ended");
    const fact = mirror.answered.find(({ kind }) => kind === "blob");
    assert.ok((fact?.bytes ?? 0) <= 2 * MIB, `${fact?.bytes} bytes were in memory`);
    assert.equal(fact?.aborted, true);
    opened.destroy();
  }));

test("a stream on which nothing moves is reset after the time for it", () =>
  staged(
    async (mirror) => {
      const opened = session(mirror, { initialWindowSize: 0 });
      const { code } = await read(ask(opened, path));
      assert.equal(code, constants.NGHTTP2_CANCEL);
      opened.destroy();
    },
    { limits: { stallMs: 200 } },
  ));

test("windows of a few bytes get a whole blob all the same", () =>
  staged(async (mirror) => {
    const opened = session(mirror, { initialWindowSize: 100 });
    const stream = opened.request({ ":path": path, range: "bytes=0-9999" });
    assert.deepEqual(await read(stream), { bytes: 10_000, code: 0, ended: true });
    opened.destroy();
  }));

test("a window beyond what there can be ends the connection alone", () =>
  staged(async (mirror) => {
    const socket = await rawSession(mirror);
    const most = Buffer.from([0x7f, 0xff, 0xff, 0xff]);
    socket.write(Buffer.concat([PREFACE, frame(8, 0, 0, most), frame(8, 0, 0, most)]));
    await gone(socket);
    await isServed(mirror);
  }));

test("clients that leave after a chunk are no errors, cost no descriptor, and the connection goes on", () =>
  staged(async (mirror) => {
    const opened = session(mirror);
    for (let at = 0; at < 20; at += 1) {
      const stream = ask(opened, path);
      await once(stream, "data");
      stream.close(constants.NGHTTP2_CANCEL);
      await gone(stream);
    }
    await mirror.until(() => mirror.answered.length === 20, "not all were told");
    for (const fact of mirror.answered) {
      assert.equal(fact.error, undefined);
      assert.equal(fact.aborted, true);
      assert.ok(fact.bytes < content.sizeBytes);
    }
    assert.equal((await read(ask(opened, path))).bytes, content.sizeBytes);
    opened.destroy();
    const metrics = await get(`${mirror.adminUrl}/metrics`);
    assert.match(metrics.body.toString(), /wharfinger_followers_active 0/);
  }));

test("requests that are taken back at once end the connection after a bounded number (CVE-2023-44487)", () =>
  staged(async (mirror) => {
    const opened = session(mirror);
    await once(opened, "remoteSettings");
    const closed = gone(opened);
    let sent = 0;
    while (!opened.destroyed && !opened.closed && sent < 20_000) {
      for (let at = 0; at < 50 && !opened.destroyed && !opened.closed; at += 1, sent += 1) {
        ask(opened, path).close(constants.NGHTTP2_CANCEL);
      }
      await new Promise((resolve) => setImmediate(resolve));
    }
    await closed;
    assert.ok(mirror.answered.length < 2000, `${mirror.answered.length} of ${sent} were begun`);
    await isServed(mirror);
  }));

for (const [what, flood] of [
  ["PING", frame(6, 0, 0, Buffer.alloc(8))],
  ["SETTINGS", frame(4, 0, 0, Buffer.from([0, 4, 0, 0, 0xff, 0xff]))],
] as const) {
  test(`a flood of ${what} ends the connection, whether or not the client reads the answers`, () =>
    staged(async (mirror) => {
      for (const isReading of [true, false]) {
        const socket = await rawSession(mirror);
        socket.write(PREFACE);
        if (!isReading) socket.pause();
        socket.write(Buffer.concat(Array.from({ length: 5000 }, () => flood)));
        const ended = mirror.until(async () => socket.destroyed || (await isGone(socket)), "it goes on");
        await ended;
        socket.destroy();
      }
      await isServed(mirror);
    }));
}

test("headers without end, in CONTINUATION frames, end the connection", () =>
  staged(async (mirror) => {
    const socket = await rawSession(mirror);
    const piece = Buffer.alloc(16_000, 0x40);
    socket.write(Buffer.concat([PREFACE, frame(1, 0, 1, Buffer.from([0x82]))]));
    for (let at = 0; at < 200 && !socket.destroyed; at += 1) socket.write(frame(9, 0, 1, piece));
    await gone(socket);
    await isServed(mirror);
  }));

test("headers larger than allowed are refused, and the connection serves others", () =>
  staged(async (mirror) => {
    const opened = session(mirror);
    // Until it knows our limit a client may send 64 KiB.
    await read(ask(opened, "/v2/"));
    const stream = opened.request({ ":path": "/v2/", "x-filler": "f".repeat(20_000) });
    stream.on("error", () => {});
    const outcome = await Promise.race([
      new Promise((resolve) => stream.once("response", (headers) => resolve(headers[":status"]))),
      gone(stream).then(() => "refused"),
    ]);
    assert.equal(outcome, "refused");
    assert.equal((await read(ask(opened, "/v2/"))).ended, true, "the connection goes on");
    opened.destroy();
    await isServed(mirror);
  }));

test("a connection without requests is closed in time, and one that never begins sooner", () =>
  staged(
    async (mirror) => {
      const silent = await rawSession(mirror);
      await gone(silent);
      const opened = session(mirror);
      await read(ask(opened, "/v2/"));
      const pings = setInterval(() => {
        if (!opened.closed && !opened.destroyed) opened.ping(() => {});
      }, 20);
      await gone(opened);
      clearInterval(pings);
    },
    { limits: { headersTimeoutMs: 200, keepAliveMs: 300 } },
  ));

test("two thousand connections that ask nothing do not keep anyone from being served", () =>
  staged(async (mirror) => {
    const port = Number(new URL(mirror.url).port);
    const sockets = Array.from({ length: 2000 }, () => connectPlain(port, "127.0.0.1").on("error", () => {}));
    await Promise.all(sockets.map((socket) => once(socket, "connect")));
    const sessions = Array.from({ length: 50 }, () => session(mirror));
    await Promise.all(sessions.map((opened) => once(opened, "remoteSettings")));
    await isServed(mirror);
    for (const opened of sessions) opened.destroy();
    for (const socket of sockets) socket.destroy();
  }));

test("a drain tells clients to go, lets running streams end, and then the connections", () =>
  staged(
    async (mirror, upstream) => {
      const gate = upstream.gate({ kind: "blob", method: "GET" }, MIB);
      const opened = session(mirror, { initialWindowSize: 32 * MIB });
      const idle = session(mirror);
      await once(idle, "remoteSettings");
      const goneIdle = gone(idle);
      const pull = read(ask(opened, path));
      await gate.reached;
      const goaway = once(opened, "goaway");
      const stopped = mirror.mirror.stop({ graceMs: 30_000 });
      assert.equal((await goaway)[0], constants.NGHTTP2_NO_ERROR);
      await goneIdle;
      gate.release();
      assert.deepEqual(await pull, { bytes: content.sizeBytes, code: 0, ended: true });
      await stopped;
      opened.destroy();
    },
    { cold: true },
  ));

test("streams that outlast the grace period are broken off, clients that read nothing included", () =>
  staged(async (mirror) => {
    const opened = session(mirror, { initialWindowSize: 0 });
    const stuck = ask(opened, path);
    await once(stuck, "response");
    const outcome = read(stuck);
    const deaf = await rawSession(mirror);
    const window = Buffer.from([0x02, 0, 0, 0]);
    const wide = [frame(4, 0, 0, Buffer.concat([Buffer.from([0, 4]), window])), frame(8, 0, 0, window)];
    const request = Buffer.concat([Buffer.from([0x82, 0x87, 0x01, 1, 0x78, 0x04, path.length]), Buffer.from(path)]);
    deaf.write(Buffer.concat([PREFACE, ...wide, frame(1, 5, 1, request)]));
    await mirror.until(() => deaf.bytesRead > MIB, "the deaf client was not begun");
    deaf.pause();
    await mirror.mirror.stop({ graceMs: 100 });
    assert.equal((await outcome).ended && (await outcome).bytes === content.sizeBytes, false);
    opened.destroy();
    deaf.destroy();
  }));

/** The other side has hung up: it takes nothing more. */
async function isGone(socket: Socket): Promise<boolean> {
  socket.write(frame(6, 0, 0, Buffer.alloc(8)));
  await new Promise((resolve) => setTimeout(resolve, 20));
  return socket.destroyed || socket.errored !== null;
}
