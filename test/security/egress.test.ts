/**
 * Where a mirror never goes, whatever its upstreams say: by redirect, by token server, by a name that changes its answer.
 *
 * Names are of the test's own and public addresses lead to servers on loopback; every other way that is opened, rightly or
 * not, leads into a trap that counts connections.
 */
import assert from "node:assert/strict";
import type { IncomingMessage, ServerResponse } from "node:http";
import { type TestContext, test } from "node:test";
import { isFailure } from "../../src/base/failure.ts";
import { digestOf } from "../../src/oci/digest.ts";
import type { Network } from "../../src/upstream/network/network.ts";
import { get } from "../kit/http.ts";
import { TestMirror } from "../kit/mirror.ts";
import { names, pem, shows } from "../upstream/network/lanes.ts";
import { playProxy } from "../upstream/network/proxyserver.ts";
import { play } from "../upstream/scene.ts";
import { serve, whole } from "../upstream/wire/scene.ts";

type Handle = (request: IncomingMessage, response: ServerResponse, path: string) => void;

/** As a network of one's own has it. */
const ONE_PROCESS = { workers: 1 };
const PUBLIC = "93.184.216.34";
const content = Buffer.from("a blob that is small");
const digest = digestOf(content);
/** One question for each lane: a manifest for the small one, a blob for the other. */
const QUESTIONS = [`blobs/${digest}`, "manifests/latest"];

const BOOK: Parameters<typeof names>[0] = {
  "registry.test": [[PUBLIC]],
  "one.test": [[PUBLIC]],
  "cdn.test": [["93.184.216.35"]],
  "loopback.test": [["127.0.0.1"]],
  "private.test": [["10.1.2.3"]],
  "linklocal.test": [["169.254.7.7"]],
  "ula.test": [["fd12::1"]],
  "cgnat.test": [["100.64.1.1"]],
  "mixed.test": [["93.184.216.36", "10.0.0.1"]],
  "mixed6.test": [["2606:4700::1", "::1"]],
  "nat64.test": [["64:ff9b::a00:1"]],
  "mapped.test": [["::ffff:10.0.0.1"]],
  "metadata.test": [["169.254.169.254"]],
  "metadata6.test": [["fd00:ec2::254"]],
  "mappedmetadata.test": [["::ffff:169.254.169.254"]],
  "nat64metadata.test": [["64:ff9b::a9fe:a9fe"]],
  "unspecified.test": [["0.0.0.0"]],
  "multicast.test": [["224.0.0.1"]],
  localhost: [["127.0.0.1"]],
  "localhost.": [["127.0.0.1"]],
};

/** Opened by `allowPrivate`, and only so. */
const CLOSED_HOSTS = [
  ...["loopback", "private", "linklocal", "ula", "cgnat", "mixed", "mixed6", "nat64", "mapped"].map(
    (name) => `${name}.test`,
  ),
  ...["localhost", "localhost.", "127.0.0.1", "127.0.0.1.", "127.1", "0x7f.1", "0177.0.0.1", "2130706433", "10.0.0.1"],
  ...[
    "[::1]",
    "[::ffff:7f00:1]",
    "[::ffff:127.0.0.1]",
    "[fe80::1]",
    "[64:ff9b::7f00:1]",
    "[::7f00:1]",
    "%E2%91%A0%E2%91%A1%E2%91%A6.0.0.1",
  ],
];
/** Never opened. */
const FORBIDDEN_HOSTS = [
  ...["metadata", "metadata6", "mappedmetadata", "nat64metadata", "unspecified", "multicast"].map(
    (name) => `${name}.test`,
  ),
  ...["169.254.169.254", "2852039166", "0xa9fea9fe", "0251.0376.0251.0376", "169.254.43518", "169.254.169.254."],
  ...[
    "[::ffff:169.254.169.254]",
    "[::ffff:a9fe:a9fe]",
    "[64:ff9b::a9fe:a9fe]",
    "[fd00:ec2::254]",
    "0",
    "0.0.0.0",
    "[::]",
  ],
  ...["100.100.100.200", "168.63.129.16", "255.255.255.255"],
];

interface Scene {
  readonly handle: Handle;
  /** Where hosts lead besides the registry; the trap where undefined. */
  readonly ports?: Readonly<Record<string, number>>;
  readonly book?: Parameters<typeof names>[0];
  readonly upstream?: Readonly<Record<string, unknown>>;
}

/** A mirror of `http://registry.test`, with all it said. */
async function stage(t: TestContext, { handle, ports = {}, book = {}, upstream = {} }: Scene) {
  const registry = await play(t, handle);
  const trap = await serve(t, (socket) => socket.write(whole("{}")));
  const { resolve, asked } = names({ ...BOOK, ...book });
  const known: Record<string, number> = { "registry.test": Number(new URL(registry.url).port), ...ports };
  const divert: Network["divert"] = (host) => ({ address: "127.0.0.1", port: known[host] ?? trap.port });
  const mirror = await TestMirror.start({
    upstreams: { "registry.test": "http://registry.test" },
    upstream: { allowPrivate: false, ...upstream },
    network: { resolve, divert, env: {} },
    config: ONE_PROCESS,
  });
  t.after(() => mirror[Symbol.asyncDispose]());
  const troubles: string[] = [];
  mirror.mirror.notices.on("upstreamTrouble", ({ message }) => troubles.push(message));
  let turn = 0;
  return {
    mirror,
    registry,
    trap,
    asked,
    troubles,
    /** The status for a client, and what the log says of it. Each question is of another repository. */
    async pull(question: string) {
      turn += 1;
      const said = troubles.length;
      const answer = await get(`${mirror.url}/v2/app${turn}/${question}`);
      await mirror.until(() => mirror.answered.length >= turn, "no word of the answer");
      const log = [mirror.answered.at(-1)?.error?.message ?? "", ...troubles.slice(said)].join("\n");
      return { status: answer.status, log, body: answer.body.toString() };
    },
  };
}

/** Redirects everything to what `to` says. */
function redirecting(to: { location: string }): Handle {
  return (_request, response) => response.writeHead(307, { location: to.location }).end();
}

test("a redirect to a host that is not public is refused, by every spelling and name, and nothing is asked there", async (t) => {
  const to = { location: "" };
  const { pull, trap } = await stage(t, { handle: redirecting(to) });
  for (const host of CLOSED_HOSTS) {
    to.location = `http://${host}/x`;
    for (const question of QUESTIONS) {
      const { status, log } = await pull(question);
      assert.equal(status, 502, `${host} ${question}`);
      assert.match(log, /is on a loopback, private or otherwise not public address; set allowPrivate/, host);
    }
  }
  assert.equal(trap.sockets.length, 0);
  // It would have caught what was let through.
  to.location = "http://cdn.test/x";
  await pull(`blobs/${digest}`);
  assert.equal(trap.sockets.length, 1);
});

for (const allowPrivate of [false, true]) {
  test(`metadata services and what is no host are refused ${allowPrivate ? "also" : "even"} where allowPrivate is ${allowPrivate}`, async (t) => {
    const to = { location: "" };
    const { pull, trap } = await stage(t, { handle: redirecting(to), upstream: { allowPrivate } });
    for (const host of FORBIDDEN_HOSTS) {
      to.location = `http://${host}/latest/meta-data/`;
      for (const question of QUESTIONS) {
        const { status, log } = await pull(question);
        assert.equal(status, 502, `${host} ${question}`);
        assert.match(log, /is on an address where no registry is ever asked/, host);
      }
    }
    assert.equal(trap.sockets.length, 0);
  });
}

test("allowPrivate opens what is private for the upstream that has it", async (t) => {
  const cdn = await play(t, (_request, response) => response.end(content));
  const to = { location: "" };
  const port = Number(new URL(cdn.url).port);
  const ports = { "private.test": port, "10.0.0.1": port };
  const { pull, trap } = await stage(t, { handle: redirecting(to), upstream: { allowPrivate: true }, ports });
  for (const host of Object.keys(ports)) {
    to.location = `http://${host}/x`;
    assert.equal((await pull(`blobs/${digest}`)).status, 200, host);
  }
  assert.equal(trap.sockets.length, 0);
});

test("a second hop is judged as the first was", async (t) => {
  const cdn = await play(t, (_request, response) =>
    response.writeHead(302, { location: "http://metadata.test/latest/" }).end(),
  );
  const handle = redirecting({ location: "http://cdn.test/x" });
  const { pull, trap } = await stage(t, { handle, ports: { "cdn.test": Number(new URL(cdn.url).port) } });
  for (const question of QUESTIONS) {
    const { status, log } = await pull(question);
    assert.equal(status, 502);
    assert.match(log, /metadata\.test is on an address where no registry is ever asked/);
  }
  assert.ok(cdn.requests.length > 0);
  assert.equal(trap.sockets.length, 0);
});

test("a redirect to another scheme, with a user name or without sense is refused with a line that says so", async (t) => {
  for (const [location, reason] of [
    ["file:///etc/passwd", /a redirect to file:\/\//],
    ["ftp://cdn.test/x", /a redirect to ftp:\/\//],
    ["gopher://cdn.test/x", /a redirect to gopher:\/\//],
    ["data:text/plain,x", /a redirect to data:\/\//],
    ["javascript:alert(1)", /a redirect to javascript:\/\//],
    ["http://me:secret@cdn.test/", /user name/],
    ["http://", /malformed/],
  ] as const) {
    const { pull, troubles, trap } = await stage(t, { handle: redirecting({ location }) });
    for (const question of QUESTIONS) {
      const { status, log, body } = await pull(question);
      assert.equal(status, 502, location);
      assert.match(log, reason);
      assert.doesNotMatch(log + body, /secret/);
    }
    // Told once, however many ask.
    assert.equal(troubles.filter((line) => reason.test(line)).length, 1, location);
    assert.equal(trap.sockets.length, 0);
  }
});

test("a redirect from https to http is refused", async (t) => {
  const server = await serve(
    t,
    (socket) => socket.write("HTTP/1.1 307 T\r\nlocation: http://cdn.test/x\r\ncontent-length: 0\r\n\r\n"),
    { tls: shows("one") },
  );
  const { pull, troubles, trap } = await stage(t, {
    handle: () => {},
    ports: { "one.test": server.port },
    upstream: { url: "https://one.test", tls: { ca: pem("one") } },
  });
  for (const question of QUESTIONS) {
    assert.equal((await pull(question)).status, 502);
    assert.match(troubles.at(-1) ?? "", /a redirect to http:\/\/, where only https:\/\/ is accepted is not followed/);
  }
  assert.ok(server.sockets.length > 0);
  assert.equal(trap.sockets.length, 0);
});

test("a redirect loop ends at its second turn, and an eleventh hop is not made", async (t) => {
  let hops = 0;
  const loop = await stage(t, {
    handle: (_request, response, path) => response.writeHead(302, { location: path }).end(),
  });
  const chain = await stage(t, {
    handle: (_request, response) => {
      hops += 1;
      response.writeHead(302, { location: `/hop/${hops}` }).end();
    },
  });
  for (const question of QUESTIONS) {
    assert.equal((await loop.pull(question)).status, 502);
    assert.match(loop.troubles.at(-1) ?? "", /a redirect loop is not followed/);
    chain.registry.requests.length = 0;
    assert.equal((await chain.pull(question)).status, 502);
    assert.match(chain.troubles.at(-1) ?? "", /more than 10 redirects is not followed/);
    assert.equal(chain.registry.requests.length, 11);
  }
});

test("a name that changes its answer after it was judged is judged again, and the judged address is the one used", async (t) => {
  for (const second of ["127.0.0.1", "169.254.169.254", "::ffff:a00:1"]) {
    const cdn = await play(t, (_request, response) => response.writeHead(200, { connection: "close" }).end(content));
    const { pull, asked } = await stage(t, {
      handle: redirecting({ location: "http://rebind.test/x" }),
      book: { "rebind.test": [["93.184.216.36"], [second]] },
      ports: { "rebind.test": Number(new URL(cdn.url).port) },
    });
    assert.equal((await pull(`blobs/${digest}`)).status, 200);
    assert.equal(asked.filter((name) => name === "rebind.test").length, 1);
    const other = digestOf(Buffer.from("another"));
    const { status, log } = await pull(`blobs/${other}`);
    assert.equal(status, 502);
    assert.match(log, /rebind\.test is on (?:an address where no registry|a loopback, private)/);
    assert.equal(cdn.requests.length, 1);
  }
});

test("a token server that is not public is not asked, with a credential or without", async (t) => {
  for (const upstream of [{}, { credentials: [{ username: "robot", password: "hunter2-hunter2" }] }]) {
    const to = { realm: "" };
    const { pull, trap } = await stage(t, {
      handle: (_request, response) =>
        response.writeHead(401, { "www-authenticate": `Bearer realm="${to.realm}",service="s"` }).end("{}"),
      upstream,
    });
    for (const host of [
      "loopback.test",
      "metadata.test",
      "mappedmetadata.test",
      "mixed.test",
      "169.254.169.254",
      "0x7f.1",
    ]) {
      to.realm = `http://${host}/token`;
      for (const question of QUESTIONS) {
        const { status, log, body } = await pull(question);
        assert.equal(status, 502, host);
        assert.match(log, /is on a loopback|no registry is ever asked|no token is asked for/, host);
        assert.doesNotMatch(log + body, /hunter2/);
      }
    }
    assert.equal(trap.sockets.length, 0);
  }
});

test("a token server's redirect, and a realm whose name changes its answer, are judged as well", async (t) => {
  const tokens = await play(t, (_request, response) =>
    response.writeHead(302, { location: "http://metadata.test/token", connection: "close" }).end(),
  );
  const { pull, trap } = await stage(t, {
    handle: (_request, response) =>
      response.writeHead(401, { "www-authenticate": 'Bearer realm="http://rebind.test/token",service="s"' }).end("{}"),
    book: { "rebind.test": [["93.184.216.36"], ["127.0.0.1"]] },
    ports: { "rebind.test": Number(new URL(tokens.url).port) },
  });
  const first = await pull(QUESTIONS[1] ?? "");
  assert.equal(first.status, 502);
  assert.match(first.log, /metadata\.test is on an address where no registry is ever asked/);
  // A token server that failed is left alone for a moment.
  await new Promise((resolve) => setTimeout(resolve, 700));
  const second = await pull(QUESTIONS[1] ?? "");
  assert.equal(second.status, 502);
  assert.match(second.log, /rebind\.test is on a loopback/);
  assert.equal(tokens.requests.length, 1);
  assert.equal(trap.sockets.length, 0);
});

test("an upstream's own name that leads to a private address is refused until allowPrivate says otherwise", async (t) => {
  for (const url of ["http://private.test", "http://10.0.0.1:5000", "http://[::1]:5000", "http://metadata.test"]) {
    const { pull, trap } = await stage(t, { handle: () => {}, upstream: { url } });
    for (const question of QUESTIONS) assert.equal((await pull(question)).status, 502, url);
    assert.equal(trap.sockets.length, 0);
  }
});

test("behind a proxy a mirror pulls through it, its password is told to nobody, and what is not public stays closed", async (t) => {
  const registry = await play(t, (_request, response, path) => {
    if (path.includes("/blobs/")) response.writeHead(307, { location: "http://private.test/x" }).end();
    else response.writeHead(404, { "content-type": "application/json" }).end("{}");
  });
  const proxy = await playProxy(t, { ports: { "registry.test": Number(new URL(registry.url).port) } });
  const env = { HTTP_PROXY: `http://me:proxy-secret@127.0.0.1:${proxy.port}` };
  await using mirror = await TestMirror.start({
    upstreams: { "registry.test": "http://registry.test" },
    upstream: { allowPrivate: false },
    network: { resolve: names(BOOK).resolve, env },
    config: ONE_PROCESS,
  });
  const blob = await get(`${mirror.url}/v2/app/blobs/${digest}`);
  assert.equal(blob.status, 502);
  assert.match(blob.body.toString(), /private\.test is on a loopback, private/);
  assert.equal((await get(`${mirror.url}/v2/app/manifests/latest`)).status, 404);
  assert.ok(proxy.requests.length >= 2);
  for (const { line } of proxy.requests) assert.match(line, /^(?:GET|HEAD) http:\/\/registry\.test\/v2\/app\//);
  for (const { headers } of registry.requests) assert.equal(headers["proxy-authorization"], undefined);
  await mirror.until(() => mirror.answered.length === 2, "no word of the answers");
  assert.doesNotMatch(JSON.stringify(mirror.answered.map(({ error }) => [error?.stack, error])), /proxy-secret/);
});

test("a variable that names no proxy stops a mirror at its start", async () => {
  const starting = TestMirror.start({
    upstreams: { "registry.test": "http://registry.test" },
    network: { env: { HTTPS_PROXY: "socks5://me:proxy-secret@proxy.test" } },
    config: ONE_PROCESS,
  });
  await assert.rejects(
    starting,
    (error) => isFailure(error, "invalid") && /^HTTPS_PROXY: /.test(error.message) && !/secret/.test(error.message),
  );
});
