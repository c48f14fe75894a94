/**
 * The registry API over TLS: who it says it is, whom it lets in, and certificates that change while it runs.
 */
import assert from "node:assert/strict";
import { constants } from "node:crypto";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { mkdir, rename, rm, symlink, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import test from "node:test";
import { type ConnectionOptions, connect, type TLSSocket } from "node:tls";
import { ManualClock } from "../kit/clock.ts";
import { get, openSocket } from "../kit/http.ts";
import { TestMirror } from "../kit/mirror.ts";
import { pemPath } from "../kit/mode.ts";
import { openResources, residueSince } from "../kit/residue.ts";
import { makeTempDir } from "../kit/temp.ts";
import { testInOneProcess } from "../kit/workers.ts";

const pair = (name: string) => ({ cert: pemPath(name), key: pemPath(`${name}-key`) });
const pem = (name: string) => readFileSync(pemPath(name), "utf8");
const upstreams = { "docker.io": "http://127.0.0.1:9" };

function start(tls: object, options: { clock?: ManualClock } = {}): Promise<TestMirror> {
  return TestMirror.start({ upstreams, config: { tls }, ...options });
}

/** A handshake; resolves to its socket when the server has said something over it, or rejects. */
async function handshake(mirror: TestMirror, options: ConnectionOptions = {}): Promise<TLSSocket> {
  const socket = connect({
    host: "127.0.0.1",
    port: Number(new URL(mirror.url).port),
    rejectUnauthorized: false,
    ...options,
  });
  try {
    socket.write("GET /v2/ HTTP/1.1\r\nHost: x\r\n\r\n");
    await Promise.race([
      once(socket, "data"),
      once(socket, "close").then(() => Promise.reject(new Error("closed without an answer"))),
    ]);
    return socket;
  } catch (error) {
    socket.destroy();
    throw error;
  }
}

async function subjectFor(mirror: TestMirror, servername?: string): Promise<string | undefined> {
  const socket = await handshake(mirror, servername === undefined ? {} : { servername });
  const { subject } = socket.getPeerCertificate();
  socket.destroy();
  return [subject.CN].flat()[0];
}

test("one port speaks HTTP/2 and HTTP/1.1, as the client asks; TLS 1.1 it does not speak", async () => {
  await using mirror = await start(pair("server"));
  for (const [asked, agreed] of [
    [["h2", "http/1.1"], "h2"],
    [["http/1.1"], "http/1.1"],
  ] as const) {
    const socket = connect({
      port: Number(new URL(mirror.url).port),
      host: "127.0.0.1",
      rejectUnauthorized: false,
      ALPNProtocols: [...asked],
    });
    await once(socket, "secureConnect");
    assert.equal(socket.alpnProtocol, agreed);
    socket.destroy();
  }
  (await handshake(mirror)).destroy();
  const old = { minVersion: "TLSv1", maxVersion: "TLSv1.1", ciphers: "DEFAULT@SECLEVEL=0" } as const;
  await assert.rejects(handshake(mirror, old));
});

test("of several certificates a client gets the one for the name it asks for, an exact name before a wildcard", async () => {
  await using mirror = await start({ ...pair("server"), certificates: [pair("one"), pair("two")] });
  const fallback = await subjectFor(mirror);
  assert.equal(await subjectFor(mirror, "one.test"), "one.test");
  assert.equal(await subjectFor(mirror, "any.one.test"), "one.test");
  assert.equal(await subjectFor(mirror, "special.one.test"), "two.test");
  assert.equal(await subjectFor(mirror, "a.b.one.test"), fallback);
  assert.equal(await subjectFor(mirror, "other.test"), fallback);
});

for (const [how, options] of [
  ["a ticket of TLS 1.3", { minVersion: "TLSv1.3" }],
  ["a ticket of TLS 1.2", { maxVersion: "TLSv1.2" }],
  ["a session id of TLS 1.2", { maxVersion: "TLSv1.2", secureOptions: constants.SSL_OP_NO_TICKET }],
] as const) {
  // Sessions by id are kept where they were made; tickets are everybody's.
  const declare = how.includes("session id") ? testInOneProcess("sessions by id are each process's own") : test;
  declare(`a client comes back by ${how} without a full handshake`, async () => {
    await using mirror = await start(pair("server"));
    let session: Buffer | undefined;
    const first = connect({
      port: Number(new URL(mirror.url).port),
      host: "127.0.0.1",
      rejectUnauthorized: false,
      ...options,
    });
    first.on("session", (given) => {
      session = given;
    });
    first.write("GET /v2/ HTTP/1.1\r\nHost: x\r\n\r\n");
    await once(first, "data");
    await mirror.until(() => session !== undefined, "no session was given");
    first.destroy();
    assert.ok(session);
    const second = await handshake(mirror, { ...options, session });
    assert.equal(second.isSessionReused(), true);
    second.destroy();
  });
}

test("a client that starts the handshake anew is refused, and others go on", async () => {
  await using mirror = await start(pair("server"));
  const socket = await handshake(mirror, { maxVersion: "TLSv1.2" });
  socket.on("error", () => {});
  const refused = await new Promise<boolean>((resolve) => {
    socket.once("close", () => resolve(true));
    socket.renegotiate({}, (error) => resolve(error !== null));
  });
  assert.equal(refused, true);
  socket.destroy();
  assert.equal((await get(`${mirror.url}/v2/`)).status, 200);
});

test("client certificates: needed by default, checked where they are optional, refused when expired or unknown", async () => {
  const known = { cert: pem("client-known"), key: pem("client-known-key") };
  const expired = { cert: pem("client-expired"), key: pem("client-expired-key") };
  const unknown = { cert: pem("client"), key: pem("client-key") };
  const ca = { ...pair("server"), clientCa: pemPath("clients-ca") };
  for (const maxVersion of ["TLSv1.2", "TLSv1.3"] as const) {
    for (const clientAuth of [undefined, "required", "optional"] as const) {
      await using mirror = await start({ ...ca, ...(clientAuth === undefined ? {} : { clientAuth }) });
      (await handshake(mirror, { maxVersion, ...known })).destroy();
      await assert.rejects(handshake(mirror, { maxVersion, ...expired }), `${clientAuth} expired`);
      await assert.rejects(handshake(mirror, { maxVersion, ...unknown }), `${clientAuth} unknown`);
      const bare = handshake(mirror, { maxVersion });
      if (clientAuth === "optional") (await bare).destroy();
      else await assert.rejects(bare, `${clientAuth} none`);
    }
  }
});

testInOneProcess("needs this process's clock")(
  "certificates that are swapped behind a symlink are shown to new clients, and open connections go on",
  async () => {
    await using dir = await makeTempDir("tls");
    const baseline = openResources();
    const put = async (version: string, name: string) => {
      const target = join(dir.path, version);
      await mkdir(target);
      await writeFile(join(target, "cert.pem"), pem(name));
      await writeFile(join(target, "key.pem"), pem(`${name}-key`));
      await symlink(target, join(dir.path, "next"));
      await rename(join(dir.path, "next"), join(dir.path, "live"));
    };
    await put("v1", "one");
    const clock = new ManualClock();
    {
      const live = join(dir.path, "live");
      await using mirror = await start({ cert: join(live, "cert.pem"), key: join(live, "key.pem") }, { clock });
      const loaded: number[] = [];
      const troubles: string[] = [];
      mirror.mirror.notices.on("certificatesLoaded", ({ expiresAt }) => loaded.push(expiresAt));
      mirror.mirror.notices.on("certificateTrouble", ({ message }) => troubles.push(message));
      const open = openSocket(mirror.url);
      open.write("GET /v2/ HTTP/1.1\r\nHost: x\r\n\r\n");
      await once(open, "data");
      assert.equal(await subjectFor(mirror), "one.test");

      await put("v2", "two");
      await tick(clock, mirror, () => loaded.length === 1);
      assert.equal(await subjectFor(mirror), "two.test");
      assert.equal(loaded[0], Date.UTC(2099, 11, 31));

      await writeFile(join(dir.path, "v2", "cert.pem"), pem("one"));
      await tick(clock, mirror, () => troubles.length === 1);
      assert.match(troubles[0] ?? "", /key\.pem does not belong to .*cert\.pem; the certificates read before stay/);
      await truncate(join(dir.path, "v2", "key.pem"), 50);
      await tick(clock, mirror, () => troubles.length === 2);
      await tick(clock, mirror, () => true);
      await rm(join(dir.path, "v2", "key.pem"));
      await tick(clock, mirror, () => troubles.length === 3);
      for (let round = 0; round < 5; round += 1) await tick(clock, mirror, () => true);
      assert.equal(troubles.length, 3, "the same trouble is told once");
      assert.equal(await subjectFor(mirror), "two.test");

      await writeFile(join(dir.path, "v2", "key.pem"), pem("one-key"));
      await tick(clock, mirror, () => loaded.length === 2);
      assert.equal(await subjectFor(mirror), "one.test");
      open.write("GET /v2/ HTTP/1.1\r\nHost: x\r\n\r\n");
      assert.match(String(await once(open, "data")), /^HTTP\/1\.1 200 /, "the old connection goes on");
      open.destroy();
    }
    assert.equal(clock.pending, 0);
    assert.deepEqual(await residueSince(baseline), []);
  },
);

test("what cannot be used at start is one clear failure that names the file", async () => {
  await using dir = await makeTempDir("tls");
  const garbage = join(dir.path, "garbage.pem");
  await writeFile(garbage, "no PEM\n");
  for (const [tls, message] of [
    [{ cert: garbage, key: pemPath("one-key") }, /garbage\.pem is no certificate/],
    [{ cert: pemPath("one"), key: garbage }, /garbage\.pem is no private key/],
    [{ cert: pemPath("one"), key: pemPath("two-key") }, /two-key\.pem does not belong to .*one\.pem/],
    [{ cert: join(dir.path, "gone"), key: garbage }, /cannot read .*gone/],
    [{ ...pair("one"), clientCa: garbage }, /garbage\.pem is no certificate/],
    [{ ...pair("one"), certificates: [{ cert: garbage, key: garbage }] }, /garbage\.pem is no certificate/],
  ] as const) {
    await assert.rejects(start(tls), (error: Error & { kind?: string }) => {
      assert.equal(error.kind, "invalid");
      assert.match(error.message, message);
      return true;
    });
  }
});

test("an expired certificate is served all the same, and told", async () => {
  await using mirror = await TestMirror.start({ upstreams, config: { tls: pair("expired") } });
  assert.equal((await get(`${mirror.url}/v2/`)).status, 200);
  assert.match(mirror.troubles[0] ?? "", /expired\.pem expired on Jan {2}1 00:00:00 2021/);
});

test("a client that never finishes its handshake is cut off, and none of them holds up the end", async () => {
  await using mirror = await TestMirror.start({
    upstreams,
    config: { tls: pair("server") },
    limits: { headersTimeoutMs: 300 },
  });
  const silent = openPlain(mirror);
  await once(silent, "close");
  const late = Array.from({ length: 20 }, () => openPlain(mirror));
  await Promise.all(late.map((socket) => once(socket, "connect")));
  await mirror.mirror.stop({ graceMs: 60_000 });
});

function openPlain(mirror: TestMirror) {
  const socket = openSocket(mirror.url.replace("https:", "http:"));
  // As much of a client's greeting as keeps a server waiting for the rest.
  socket.write(Buffer.from([0x16, 0x03, 0x01, 0x02, 0x00, 0x01]));
  socket.on("error", () => {});
  socket.resume();
  return socket;
}

/** Lets the files be looked at, and waits for what is to come of it. */
async function tick(clock: ManualClock, mirror: TestMirror, holds: () => boolean): Promise<void> {
  await mirror.until(() => clock.pending > 0, "nobody watches");
  await clock.advance(5000);
  await mirror.until(() => clock.pending > 0 && holds(), "the files were not taken notice of");
}
