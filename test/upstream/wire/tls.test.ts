/**
 * Connections of our own over TLS: whom they trust, what they show, and that bodies come whole.
 */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { type TestContext, test } from "node:test";
import { createSecureContext, type TLSSocket, type TlsOptions } from "node:tls";
import { fileURLToPath } from "node:url";
import { systemClock } from "../../../src/base/clock.ts";
import { failureOf } from "../../../src/upstream/exchange/trouble.ts";
import { Proxies } from "../../../src/upstream/network/proxies.ts";
import { Dialing } from "../../../src/upstream/wire/dialing.ts";
import { Pool } from "../../../src/upstream/wire/pool.ts";
import { seededBytes } from "../../kit/content.ts";
import { openResources, residueSince } from "../../kit/residue.ts";
import { never, readAll, serve, until, whole, wireTo } from "./scene.ts";

const pem = (name: string) => fileURLToPath(new URL(`../../kit/tls/${name}.pem`, import.meta.url));
const trusting = { insecureSkipVerify: false, ca: pem("server") };

function secure(t: TestContext, answer: Parameters<typeof serve>[1], more: TlsOptions = {}) {
  return serve(t, answer, {
    tls: { cert: readFileSync(pem("server")), key: readFileSync(pem("server-key")), ...more },
  });
}

const bytes = seededBytes(5_000_001, 3);
const sendBytes: Parameters<typeof serve>[1] = (socket) => {
  socket.write(`HTTP/1.1 200 OK\r\ncontent-length: ${bytes.length}\r\n\r\n`);
  socket.write(bytes);
};

test("a host is trusted by its authority, and bodies come whole over one connection", async (t) => {
  const names: (string | false | null)[] = [];
  const server = await secure(
    t,
    (socket, request, count) => {
      names.push((socket as TLSSocket).servername, (socket as TLSSocket).alpnProtocol);
      sendBytes(socket, request, count);
    },
    { ALPNProtocols: ["http/1.1"] },
  );
  const wire = wireTo(t, server.url, { tls: trusting });
  const byName = `https://localhost:${server.port}`;
  for (let turn = 0; turn < 3; turn++) assert.ok((await readAll((await wire.get(byName)).body)).equals(bytes));
  assert.equal(server.sockets.length, 1);
  assert.deepEqual(names.slice(0, 2), ["localhost", "http/1.1"]);
  // An address is no name.
  assert.ok((await readAll((await wire.get(server.url)).body)).equals(bytes));
  assert.equal(names[6], false);
});

test("an unknown authority, another name and an expired certificate are refused, each in its words", async (t) => {
  const server = await secure(t, (socket) => socket.write(whole("x")));
  const expired = await secure(t, (socket) => socket.write(whole("x")), { cert: readFileSync(pem("server-expired")) });
  const elsewhere = await serve(t, (socket) => socket.write(whole("x")), {
    host: "127.0.0.2",
    tls: { cert: readFileSync(pem("server")), key: readFileSync(pem("server-key")) },
  });
  const messageOf = async (url: string, tls: Parameters<typeof wireTo>[2]) => {
    const error = await wireTo(t, url, tls)
      .get(url)
      .catch((thrown: unknown) => thrown);
    return failureOf(error, "reg.test", new URL(url)).message;
  };
  assert.match(await messageOf(server.url, {}), /signed by no known authority.*tls\.ca/);
  const wrong = `https://127.0.0.2:${elsewhere.port}`;
  assert.match(await messageOf(wrong, { tls: trusting }), /for another name/);
  const old = { insecureSkipVerify: false, ca: pem("server-expired") };
  assert.match(await messageOf(expired.url, { tls: old }), /has expired/);
  assert.equal(server.open() + expired.open() + elsewhere.open(), 0);
});

test("our certificate and the waived verification are for our own host only", async (t) => {
  const shown: boolean[] = [];
  const options = { requestCert: true, rejectUnauthorized: false };
  const server = await secure(
    t,
    (socket) => {
      shown.push(Object.keys((socket as TLSSocket).getPeerCertificate()).length > 0);
      socket.write(whole("x"));
    },
    options,
  );
  const ours = { cert: pem("client"), key: pem("client-key") };
  const waived = wireTo(t, server.url, { tls: { ...ours, insecureSkipVerify: true } });
  assert.equal((await waived.text(server.url)).text, "x");
  await assert.rejects(waived.get(`https://localhost:${server.port}`));
  const trusted = wireTo(t, server.url, { tls: { ...trusting, ...ours } });
  assert.equal((await trusted.text(`https://localhost:${server.port}`)).text, "x");
  assert.deepEqual(shown, [true, false]);
});

test("a server that does not speak TLS is told apart", async (t) => {
  const plain = await serve(t, () => {});
  plain.sockets.length = 0;
  const wire = wireTo(t, plain.url);
  const asked = wire.get(`https://127.0.0.1:${plain.port}`).catch((thrown: unknown) => thrown);
  await until(() => plain.sockets.length > 0);
  plain.sockets[0]?.write("HTTP/1.1 400 Bad Request\r\n\r\n");
  assert.match(failureOf(await asked, "reg.test", new URL(plain.url)).message, /does not speak TLS/);
});

test("a receiver that waits again and again gets every byte, though TLS brings on what it has", async (t) => {
  const server = await secure(t, sendBytes);
  const wire = wireTo(t, server.url, { tls: trusting });
  const { body } = await wire.get(server.url);
  const memory = Buffer.alloc(100_000);
  const pieces: Buffer[] = [];
  const error = await new Promise<Error | undefined>((resolve) => {
    body.pour(
      {
        space: () => memory,
        filled(count) {
          pieces.push(Buffer.from(memory.subarray(0, count)));
          memory.fill(0);
          if (pieces.length % 3 > 0) return true;
          setImmediate(() => body.resume());
          return false;
        },
      },
      resolve,
    );
  });
  assert.equal(error, undefined);
  assert.ok(Buffer.concat(pieces).equals(bytes));
});

test("bytes are read straight into memory that is shared, piece after piece of a slab", async (t) => {
  const plain = await serve(t, sendBytes);
  const server = await secure(t, sendBytes);
  for (const { url } of [plain, server]) {
    const wire = wireTo(t, url, { tls: trusting });
    const { body } = await wire.get(url);
    const hash = createHash("sha256");
    let slab = new Uint8Array(new SharedArrayBuffer(1024 * 1024));
    let at = 0;
    const error = await new Promise<Error | undefined>((resolve) => {
      body.pour(
        {
          space: () => slab.subarray(at),
          filled(count) {
            hash.update(slab.subarray(at, at + count));
            at += count;
            if (at < slab.length) return true;
            slab = new Uint8Array(new SharedArrayBuffer(1024 * 1024));
            at = 0;
            setImmediate(() => body.resume());
            return false;
          },
        },
        resolve,
      );
    });
    assert.equal(error, undefined);
    assert.equal(hash.digest("hex"), createHash("sha256").update(bytes).digest("hex"));
  }
});

test("an end, a cut and an abort within a body leave nothing open", async (t) => {
  const half = "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc";
  const server = await secure(t, (socket, request) => {
    socket.write(half);
    if (request.includes("/end")) socket.end();
    if (request.includes("/cut")) setTimeout(() => socket.destroy(), 20);
  });
  const baseline = openResources();
  const wire = wireTo(t, server.url, { tls: trusting });
  await assert.rejects(wire.text(`${server.url}/end`), /ended within a body/);
  await assert.rejects(wire.text(`${server.url}/cut`), /ended within a body/);
  await assert.rejects(wire.text(`${server.url}/stay`, AbortSignal.timeout(50)), /aborted/);
  await wire.close();
  await until(() => server.open() === 0);
  assert.deepEqual(await residueSince(baseline), []);
});

test("a small answer whose server closes behind it counts, though all comes at once", async (t) => {
  const server = await secure(t, (socket, request) => {
    if (request.includes("/length")) socket.end(whole("all"));
    else if (request.includes("/chunks")) {
      socket.end("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nall\r\n0\r\n\r\n");
    } else socket.end("HTTP/1.1 200 OK\r\n\r\nall");
  });
  for (const path of ["length", "chunks", "close"]) {
    const wire = wireTo(t, server.url, { tls: trusting });
    assert.equal((await wire.text(`${server.url}/${path}`)).text, "all");
  }
  await until(() => server.open() === 0);
});

test("a name with an address where nobody listens is reached at the next, by the memory of who reads", async (t) => {
  const plain = await serve(t, sendBytes);
  const server = await secure(t, sendBytes);
  const context = { secureContext: createSecureContext({ ca: readFileSync(pem("server")) }), rejectUnauthorized: true };
  const dialing = new Dialing({
    name: "reg.test",
    proxies: new Proxies({}),
    clock: systemClock,
    connectMs: 5000,
    allowPrivate: true,
    trustOf: () => context,
    network: {
      resolve: (_name, _options, callback) =>
        callback(
          null,
          ["127.0.0.3", "127.0.0.1"].map((address) => ({ address, family: 4 })),
        ),
    },
  });
  const timeouts = { connectMs: 5000, headersMs: 5000, bodyMs: 5000 };
  const pool = new Pool({ dialing, timeouts, clock: systemClock, connections: 2 });
  t.after(() => pool.close());
  for (const url of [`http://localhost:${plain.port}/`, `https://localhost:${server.port}/`]) {
    const { body } = await pool.request(new URL(url), { method: "GET", target: "/", headers: {}, signal: never });
    assert.ok((await readAll(body)).equals(bytes));
  }
});
