/**
 * Upstreams by way of a proxy, on both lanes: what it is asked, what it is shown, and what its refusals are told as.
 */
import assert from "node:assert/strict";
import { createServer } from "node:net";
import { test } from "node:test";
import type { TLSSocket } from "node:tls";
import type { Network } from "../../../src/upstream/network/network.ts";
import { ManualClock } from "../../kit/clock.ts";
import { seededBytes } from "../../kit/content.ts";
import { openResources, residueSince } from "../../kit/residue.ts";
import { app, ask, latest, never } from "../scene.ts";
import { readAll, serve, until, whole } from "../wire/scene.ts";
import { LANES, names, openLane, pem, shows } from "./lanes.ts";
import { playProxy } from "./proxyserver.ts";

const PASSWORD = "p@ss/word";
const proof = `Basic ${Buffer.from(`me:${PASSWORD}`).toString("base64")}`;
const env = (port: number, scheme = "http") => {
  const proxy = `${scheme}://me:${encodeURIComponent(PASSWORD)}@127.0.0.1:${port}`;
  return { HTTPS_PROXY: proxy, HTTP_PROXY: proxy };
};
const trusting = { tls: { insecureSkipVerify: false, ca: pem("one") } };
const publicly = { "one.test": [["93.184.216.34"]], "plain.test": [["93.184.216.35"]] };
const bytes = seededBytes(3_000_001, 11);

for (const lane of LANES) {
  test(`${lane}: https goes through a tunnel, kept for the next request, and the proxy's password to the proxy alone`, async (t) => {
    const seen: string[] = [];
    const server = await serve(
      t,
      (socket, request) => {
        seen.push(String((socket as TLSSocket).servername), request);
        socket.write(whole("through"));
      },
      { tls: shows("one") },
    );
    const proxy = await playProxy(t, { ports: { "one.test:443": server.port }, demand: proof });
    const network = { env: env(proxy.port), ...names(publicly) };
    const baseline = openResources();
    const wire = openLane(t, lane, "https://one.test", { network, options: { ...trusting, allowPrivate: false } });
    assert.equal(await wire.text("https://one.test/v2/x?y=1"), "through");
    assert.equal(await wire.text("https://one.test/v2/z"), "through");
    assert.deepEqual(
      proxy.requests.map(({ line, headers }) => [line, headers.host, headers["proxy-authorization"]]),
      [["CONNECT one.test:443", "one.test:443", proof]],
    );
    assert.deepEqual([seen[0], /^GET (\S+) /.exec(seen[1] ?? "")?.[1]], ["one.test", "/v2/x?y=1"]);
    assert.doesNotMatch(seen.join(), /proxy-authorization/i);
    await wire.close();
    await until(() => server.open() === 0);
    assert.deepEqual(await residueSince(baseline), []);
  });

  test(`${lane}: plain http is asked of the proxy by its whole URL`, async (t) => {
    const seen: string[] = [];
    const server = await serve(t, (socket, request) => {
      seen.push(request);
      socket.write(whole("plain"));
    });
    const proxy = await playProxy(t, { ports: { "plain.test:5000": server.port }, demand: proof });
    const wire = openLane(t, lane, "http://plain.test:5000", { network: { env: env(proxy.port), ...names(publicly) } });
    assert.equal(await wire.text("http://plain.test:5000/v2/x?y=1"), "plain");
    assert.deepEqual(
      proxy.requests.map(({ line, headers }) => [line, headers.host, headers["proxy-authorization"]]),
      [["GET http://plain.test:5000/v2/x?y=1", "plain.test:5000", proof]],
    );
    assert.doesNotMatch(seen.join(), /proxy-authorization/i);
  });

  test(`${lane}: the way to the proxy may be TLS itself`, async (t) => {
    const server = await serve(t, (socket) => socket.write(whole("twice")), { tls: shows("one") });
    const plain = await serve(t, (socket) => socket.write(whole("once")));
    const ports = { "one.test:443": server.port, "plain.test": plain.port };
    const proxy = await playProxy(t, { ports, tls: shows("one"), demand: proof });
    const network = {
      env: {
        ...env(0),
        HTTPS_PROXY: `https://me:p%40ss%2Fword@one.test:${proxy.port}`,
        HTTP_PROXY: `https://me:p%40ss%2Fword@one.test:${proxy.port}`,
      },
      ...names({ ...publicly, "one.test": [["127.0.0.1"]] }),
    };
    const wire = openLane(t, lane, "https://one.test", { network, options: trusting });
    assert.equal(await wire.text("https://one.test/"), "twice");
    assert.equal(await wire.text("http://plain.test/"), "once");
    assert.deepEqual(
      proxy.requests.map(({ line }) => line),
      ["CONNECT one.test:443", "GET http://plain.test/"],
    );
  });

  test(`${lane}: what NO_PROXY names is asked directly`, async (t) => {
    const server = await serve(t, (socket) => socket.write(whole("direct")));
    const proxy = await playProxy(t, { ports: {} });
    const network = { env: { ...env(proxy.port), no_proxy: ".test" }, ...names({ "reg.test": [["127.0.0.1"]] }) };
    const wire = openLane(t, lane, "http://reg.test", { network });
    assert.equal(await wire.text(`http://reg.test:${server.port}/`), "direct");
    assert.equal(proxy.requests.length, 0);
  });

  test(`${lane}: a proxy that refuses, fails, talks nonsense or closes is told as what it is, without a secret`, async (t) => {
    const target = "https://one.test/";
    const cases: [reply: string | undefined, message: RegExp, bare?: boolean][] = [
      [
        'HTTP/1.1 407 No\r\nproxy-authenticate: Basic realm="x"\r\n\r\n',
        /refuses the user and password in HTTPS_PROXY \(407\)/,
      ],
      [
        'HTTP/1.1 407 No\r\nproxy-authenticate: Basic realm="x"\r\n\r\n',
        /asks for a user and password \(407\); put them into HTTPS_PROXY/,
        true,
      ],
      [
        "HTTP/1.1 407 No\r\nproxy-authenticate: Negotiate\r\nproxy-authenticate: NTLM\r\n\r\n",
        /asks for Negotiate \(407\)/,
      ],
      [
        "HTTP/1.1 403 Forbidden\r\ncontent-length: 4\r\n\r\nno!!",
        /does not let us through to one\.test:443 \(403\); allow it/,
      ],
      ["HTTP/1.1 502 Bad Gateway\r\n\r\n", /cannot reach one\.test:443 \(502\)/],
      ["HTTP/1.1 400 Bad Request\r\n\r\n", /answered 400 where a tunnel/],
      ["SSH-2.0-OpenSSH_9\r\n", /does not speak proper HTTP.*check HTTPS_PROXY/],
      ["HTTP/1.1 200 OK\r\n\r\ngarbage", /does not speak proper HTTP: bytes that nobody asked for/],
      [`HTTP/1.1 200 OK\r\n${"a: b\r\n".repeat(300)}`, /too many headers/],
      ["HTTP/1.1 100 Continue\r\n\r\n".repeat(20), /interim/],
      [undefined, /closed the connection/],
    ];
    for (const [reply, message, bare] of cases) {
      const proxy = await playProxy(t, {
        ports: {},
        onConnect: (socket) => {
          if (reply === undefined) socket.destroy();
          else socket.write(reply);
          return true;
        },
      });
      const variables = bare === true ? { HTTPS_PROXY: `127.0.0.1:${proxy.port}` } : env(proxy.port);
      const baseline = openResources();
      const wire = openLane(t, lane, target, { network: { env: variables, ...names(publicly) } });
      const failure = await wire.failure(target);
      assert.match(failure.message, message);
      assert.match(failure.message, new RegExp(`^reg\\.test: the proxy 127\\.0\\.0\\.1:${proxy.port} `));
      assert.equal(failure.kind, "unreachable");
      for (let at: unknown = failure; at instanceof Error; at = at.cause) {
        assert.ok(!`${at.stack} ${JSON.stringify(at)}`.includes(PASSWORD) && !String(at.stack).includes(proof));
      }
      await wire.close();
      assert.deepEqual(await residueSince(baseline), []);
    }
  });

  test(`${lane}: a proxy of plain http that asks for a password is told apart from the registry`, async (t) => {
    const proxy = await playProxy(t, { ports: {}, demand: "other" });
    const wire = openLane(t, lane, "http://plain.test", { network: { env: env(proxy.port), ...names(publicly) } });
    assert.match(
      (await wire.failure("http://plain.test/")).message,
      /the proxy .* refuses the user and password in HTTP_PROXY/,
    );
  });

  test(`${lane}: a proxy that nobody runs, and one that never answers, are each told in time`, async (t) => {
    const nobody = createServer();
    await new Promise<void>((resolve) => nobody.listen(0, "127.0.0.1", resolve));
    const address = nobody.address();
    const port = typeof address === "object" && address !== null ? address.port : 0;
    await new Promise((resolve) => nobody.close(resolve));
    const dead = openLane(t, lane, "https://one.test", { network: { env: env(port), ...names(publicly) } });
    assert.match(
      (await dead.failure("https://one.test/")).message,
      /cannot be connected to \(ECONNREFUSED\); check HTTPS_PROXY/,
    );

    let held = 0;
    const silent = await playProxy(t, {
      ports: {},
      onConnect: () => {
        held += 1;
        return true;
      },
    });
    const clock = new ManualClock();
    const network = { env: env(silent.port), ...names(publicly) };
    const wire = openLane(t, lane, "https://one.test", { network, clock, timeouts: { connectMs: 9000 } });
    const asked = wire.failure("https://one.test/");
    await until(() => held === 1);
    await clock.advance(9000);
    const failure = await asked;
    assert.match(failure.message, /did not let us through in time/);
    assert.ok(failure.timedOut);
  });

  test(`${lane}: before the proxy hears of it, a literal and a name that resolves here are judged`, async (t) => {
    const proxy = await playProxy(t, { ports: {} });
    const book = {
      "inner.test": [["10.0.0.1"]],
      "meta.test": [["169.254.169.254"]],
      "mixed.test": [["8.8.8.8", "127.0.0.1"]],
    };
    const network = { env: env(proxy.port), ...names(book) };
    const wire = openLane(t, lane, "https://one.test", { network, options: { allowPrivate: false } });
    for (const host of [
      "inner.test",
      "meta.test",
      "mixed.test",
      "10.0.0.1",
      "[::ffff:a9fe:a9fe]",
      "2852039166",
      "0x7f.1",
    ]) {
      for (const scheme of ["http", "https"]) {
        const { cause } = await wire.failure(`${scheme}://${host}/`);
        assert.ok(cause instanceof Error && cause.name === "AddressRefused", `${scheme}://${host}: ${cause}`);
      }
    }
    assert.deepEqual(proxy.requests, []);
  });

  test(`${lane}: a name that only the proxy can resolve passes, also where nobody here answers for it`, async (t) => {
    const server = await serve(t, (socket) => socket.write(whole("inside")));
    const proxy = await playProxy(t, { ports: { "hidden.test": server.port } });
    const unknown = openLane(t, lane, "http://hidden.test", { network: { env: env(proxy.port), ...names({}) } });
    assert.equal(await unknown.text("http://hidden.test/"), "inside");
    const clock = new ManualClock();
    const mute = { env: env(proxy.port), resolve: () => {} };
    const wire = openLane(t, lane, "http://hidden.test", { network: mute, clock });
    const text = wire.text("http://hidden.test/");
    for (let turn = 0; turn < 20 && clock.pending < 2; turn++) await clock.advance(0);
    await clock.advance(1000);
    assert.equal(await text, "inside");
  });

  test(`${lane}: a name that an upstream sent us to does not pass because nobody here answers for it`, async (t) => {
    const proxy = await playProxy(t, { ports: {} });
    const options = { allowPrivate: false, tokenRealm: "https://realm.test/token" };
    const waiting = new Map<string, () => void>();
    const resolve: NonNullable<Network["resolve"]> = (name, _options, callback) => {
      waiting.set(name, () => callback(null, [{ address: "169.254.169.254", family: 4 }]));
    };
    for (const scheme of ["http", "https"]) {
      const clock = new ManualClock();
      const network = { env: env(proxy.port), resolve };
      const wire = openLane(t, lane, "https://one.test", { network, options, clock });
      const refused = wire.failure(`${scheme}://slow.test/`);
      for (let turn = 0; turn < 100 && !waiting.has("slow.test"); turn++) await clock.advance(0);
      await clock.advance(2000);
      waiting.get("slow.test")?.();
      const { cause } = await refused;
      assert.ok(cause instanceof Error && cause.name === "AddressRefused", String(cause));
      waiting.clear();
      const silent = wire.failure(`${scheme}://silent.test/`);
      for (let turn = 0; turn < 100 && !waiting.has("silent.test"); turn++) await clock.advance(0);
      await clock.advance(5000);
      assert.ok((await silent).timedOut);
    }
    assert.deepEqual(proxy.requests, []);
  });
}

test("a proxy that refuses our password is asked once for each question: accounts get locked otherwise", async (t) => {
  const proxy = await playProxy(t, { ports: {}, demand: "other" });
  for (const scheme of ["http", "https"]) {
    proxy.requests.length = 0;
    const { upstream } = ask(t, `${scheme}://one.test`, {}, { env: env(proxy.port), ...names(publicly) });
    await assert.rejects(upstream.getManifest(app, latest, never), /refuses the user and password in HTTPS?_PROXY/);
    assert.equal(proxy.requests.length, 1);
  }
});

test("a body through a tunnel comes whole, into spaces of any size and across pauses", async (t) => {
  const server = await serve(
    t,
    (socket) => {
      socket.write(`HTTP/1.1 200 OK\r\ncontent-length: ${bytes.length}\r\n\r\n`);
      socket.write(bytes);
    },
    { tls: shows("one") },
  );
  const proxy = await playProxy(t, { ports: { "one.test:443": server.port } });
  const network = { env: env(proxy.port), ...names(publicly) };
  const wire = openLane(t, "blob", "https://one.test", { network, options: trusting });
  assert.ok((await readAll((await wire.get("https://one.test/")).body)).equals(bytes));
  const { body } = await wire.get("https://one.test/");
  const memory = Buffer.alloc(7_001);
  const pieces: Buffer[] = [];
  const error = await new Promise<Error | undefined>((resolve) => {
    body.pour(
      {
        space: () => memory,
        filled(count) {
          pieces.push(Buffer.from(memory.subarray(0, count)));
          if (pieces.length % 5 > 0) return true;
          setImmediate(() => body.resume());
          return false;
        },
      },
      resolve,
    );
  });
  assert.equal(error, undefined);
  assert.ok(Buffer.concat(pieces).equals(bytes));
  assert.equal(proxy.requests.length, 1);
});
