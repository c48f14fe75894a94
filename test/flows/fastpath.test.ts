/**
 * Requests that are answered straight from the socket: the same answers as from the HTTP server, and connections that
 * go over to it whenever something else comes.
 */
import assert from "node:assert/strict";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import { test } from "node:test";
import { FastPath, type FastPathParts } from "../../src/http/fastpath.ts";
import { createRoutingTable } from "../../src/upstream/registries/routing.ts";
import { ManualClock } from "../kit/clock.ts";
import { get } from "../kit/http.ts";
import { makeImage } from "../kit/image.ts";
import { TestMirror, type TestMirrorOptions } from "../kit/mirror.ts";
import { TestUpstream } from "../kit/upstream.ts";

const image = makeImage({ seed: 91 });
const PATH = "/v2/demo/manifests/1";

async function warmMirror(upstream: TestUpstream, options: Partial<TestMirrorOptions> = {}): Promise<TestMirror> {
  upstream.shelves.add("library/demo", image, "1");
  const mirror = await TestMirror.start({
    upstreams: { "docker.io": upstream },
    ...options,
    // It is about plain connections, in whatever mode the tests run, and about this process's clock.
    config: { tls: {}, workers: 1 },
  });
  await get(mirror.url + PATH);
  await mirror.settled();
  return mirror;
}

/** One connection, and everything that it brought. */
class Line {
  readonly socket: Socket;
  text = "";
  ended = false;
  #more = () => {};

  constructor(url: string) {
    const { hostname, port } = new URL(url);
    this.socket = connect(Number(port), hostname);
    this.socket.on("data", (chunk: Buffer) => {
      this.text += chunk.toString("latin1");
      this.#more();
    });
    this.socket.on("error", () => {});
    this.socket.on("close", () => {
      this.ended = true;
      this.#more();
    });
  }

  send(...lines: string[]): void {
    this.socket.write(`${lines.join("\r\n")}\r\n\r\n`);
  }

  async until(enough: () => boolean): Promise<void> {
    while (!enough()) await new Promise<void>((resolve) => (this.#more = resolve));
  }

  answers(): number {
    return this.text.split("HTTP/1.1 200 OK").length - 1;
  }

  whole(count: number): Promise<void> {
    const body = image.manifest.toString("latin1");
    return this.until(() => this.text.split(body).length - 1 >= count);
  }
}

/** By lower-case name, without what differs from one answer to the next. */
function fieldsOf(text: string): Record<string, string> {
  const [head = ""] = text.split("\r\n\r\n", 1);
  const fields = head
    .split("\r\n")
    .slice(1)
    .map((line): [string, string] => {
      const colon = line.indexOf(":");
      return [line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim()];
    });
  return Object.fromEntries(fields.filter(([name]) => name !== "x-request-id" && name !== "date"));
}

for (const [what, target] of [
  ["by default", PATH],
  ["with ns", `${PATH}?ns=docker.io`],
  ["with a registry in the path", "/docker.io/v2/demo/manifests/1"],
] as const) {
  for (const method of ["GET", "HEAD"]) {
    test(`${method} ${what}: the answer is the HTTP server's, field by field`, async () => {
      const clock = new ManualClock();
      await using upstream = await TestUpstream.start();
      await using mirror = await warmMirror(upstream, { clock });
      const [fast, slow] = [new Line(mirror.url), new Line(mirror.url)];
      fast.send(`${method} ${target} HTTP/1.1`, "Host: mirror", "User-Agent: test/1");
      slow.send(`${method} ${target} HTTP/1.1`, "Host: mirror", "User-Agent: test/1", "X-Other: makes it slow");
      await Promise.all([fast.until(() => fast.answers() === 1), slow.until(() => slow.answers() === 1)]);
      if (method === "GET") await Promise.all([fast.whole(1), slow.whole(1)]);
      assert.deepEqual(fieldsOf(fast.text), fieldsOf(slow.text));
      assert.match(fast.text, /\r\ndate: \w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT\r\n/i);
      assert.match(fast.text, /\r\nx-request-id: \S+\r\n/i);
      assert.equal(fast.text.split("\r\n\r\n")[1], slow.text.split("\r\n\r\n")[1]);
      const [one, other] = mirror.answered.slice(-2);
      const ofBoth = ({
        method: m,
        path,
        kind,
        repository,
        reference,
        status,
        bytes,
        cache,
        aborted,
        userAgent,
      }: (typeof mirror.answered)[number]) => ({
        m,
        path,
        kind,
        repository,
        reference,
        status,
        bytes,
        cache,
        aborted,
        userAgent,
      });
      assert.ok(one && other);
      assert.deepEqual(ofBoth(one), ofBoth(other));
      fast.socket.destroy();
      slow.socket.destroy();
    });
  }
}

test("a connection answers one request after the other, and goes over to the HTTP server in the middle", async () => {
  await using upstream = await TestUpstream.start();
  await using mirror = await warmMirror(upstream);
  const line = new Line(mirror.url);
  for (let turn = 1; turn <= 3; turn += 1) {
    line.send(`GET ${PATH} HTTP/1.1`, "Host: mirror");
    await line.whole(turn);
  }
  line.send("GET /v2/ HTTP/1.1", "Host: mirror");
  await line.until(() => line.text.endsWith("\r\n\r\n{}"));
  line.send(`GET ${PATH} HTTP/1.1`, "Host: mirror");
  await line.whole(4);
  assert.equal(line.answers(), 5);
  assert.equal(line.ended, false);
  line.socket.destroy();
});

test("a head that comes in pieces, and requests that come at once, are answered in order", async () => {
  await using upstream = await TestUpstream.start();
  await using mirror = await warmMirror(upstream);
  const line = new Line(mirror.url);
  line.socket.setNoDelay(true);
  line.socket.write(`GET ${PATH} HT`);
  await new Promise((resolve) => setTimeout(resolve, 30));
  line.socket.write("TP/1.1\r\nHost: mirror\r\n\r\n");
  await line.whole(1);
  const other = new Line(mirror.url);
  other.socket.write(`GET ${PATH} HTTP/1.1\r\nHost: a\r\n\r\nGET /v2/ HTTP/1.1\r\nHost: a\r\n\r\n`);
  await other.until(() => other.text.endsWith("\r\n\r\n{}"));
  assert.equal(other.answers(), 2);
  line.socket.destroy();
  other.socket.destroy();
});

test("what is not fresh any more goes to the upstream", async () => {
  const clock = new ManualClock();
  await using upstream = await TestUpstream.start();
  await using mirror = await warmMirror(upstream, { clock });
  const line = new Line(mirror.url);
  line.send(`GET ${PATH} HTTP/1.1`, "Host: mirror");
  await line.whole(1);
  const before = upstream.count({ kind: "manifest" });
  await clock.advance(2 * 3600_000);
  line.send(`GET ${PATH} HTTP/1.1`, "Host: mirror");
  await line.whole(2);
  assert.equal(upstream.count({ kind: "manifest" }), before + 1);
  assert.match(line.text, /cache-status: wharfinger; fwd=stale/i);
  line.socket.destroy();
});

test("a repository that may not be pulled is refused here as well", async () => {
  await using upstream = await TestUpstream.start();
  await using mirror = await warmMirror(upstream, {
    upstream: { repositories: { allow: ["library/demo"], deny: ["library/secret"] } },
  });
  const line = new Line(mirror.url);
  line.send("GET /v2/secret/manifests/1 HTTP/1.1", "Host: mirror");
  await line.until(() => line.text.includes("DENIED"));
  assert.match(line.text, /^HTTP\/1\.1 403 /);
  line.socket.destroy();
});

test("a client that half-closes is answered and let go; idle connections end when the mirror stops", async () => {
  await using upstream = await TestUpstream.start();
  const mirror = await warmMirror(upstream);
  try {
    const half = new Line(mirror.url);
    half.socket.end(`GET ${PATH} HTTP/1.1\r\nHost: mirror\r\n\r\n`);
    await half.until(() => half.ended);
    assert.equal(half.answers(), 1);
    const idle = [new Line(mirror.url), new Line(mirror.url)];
    idle[1]?.send(`GET ${PATH} HTTP/1.1`, "Host: mirror");
    await idle[1]?.whole(1);
    await mirror[Symbol.asyncDispose]();
    await Promise.all(idle.map((line) => line.until(() => line.ended)));
  } finally {
    await mirror[Symbol.asyncDispose]();
  }
});

test("a client that does not take its answers holds up the end of the mirror no longer than it may", async () => {
  await using upstream = await TestUpstream.start();
  const mirror = await warmMirror(upstream);
  const line = new Line(mirror.url);
  line.socket.pause();
  for (let at = 0; at < 3000 && line.socket.writableLength < 100_000; at += 1) {
    line.send(`GET ${PATH} HTTP/1.1`, "Host: mirror");
    await new Promise((resolve) => setImmediate(resolve));
  }
  await mirror[Symbol.asyncDispose]();
  line.socket.resume();
  await line.until(() => line.ended);
});

test("what goes wrong while a manifest is looked up is an answer, and not the end of the process", async () => {
  const handed: string[] = [];
  const broken = () => {
    throw new Error("disk I/O error");
  };
  const routing = createRoutingTable(
    [{ upstream: { name: "docker.io" }, hosts: [], repositories: { allow: ["**"], deny: [] } }],
    "docker.io",
  );
  const parts = { manifests: { peek: broken }, routing, notices: { emit() {} }, keepAliveMs: 1000 };
  const path = new FastPath(parts as unknown as FastPathParts);
  const server = createServer((socket) =>
    path.take(socket, 1000, (taken, read) => {
      handed.push(read.toString());
      taken.destroy();
    }),
  );
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  const line = new Line(`http://127.0.0.1:${port}`);
  line.send(`GET ${PATH} HTTP/1.1`, "Host: mirror");
  await line.until(() => line.ended);
  assert.equal(handed.length, 1);
  await new Promise((resolve) => server.close(resolve));
});

test("a connection that never says anything is closed after the time for headers", async () => {
  await using upstream = await TestUpstream.start();
  await using mirror = await warmMirror(upstream, { limits: { headersTimeoutMs: 200 } });
  const line = new Line(mirror.url);
  await line.until(() => line.ended);
  assert.equal(line.text, "");
});
