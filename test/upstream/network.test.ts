/**
 * Another network in the place of the machine's: names and ways of a test's own, on both lanes, judged as ever.
 */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import type { TLSSocket } from "node:tls";
import { fileURLToPath } from "node:url";
import { systemClock } from "../../src/base/clock.ts";
import type { Network } from "../../src/upstream/network.ts";
import type { UpstreamOptions } from "../../src/upstream/options.ts";
import { type Lane, openTransport } from "../../src/upstream/transport.ts";
import { never, readAll, serve, whole } from "./wire/scene.ts";

const pem = (name: string) => fileURLToPath(new URL(`../kit/tls/${name}.pem`, import.meta.url));
const LANES: readonly Lane[] = ["small", "blob"];

function open(endpoint: string, network: Network, more: Partial<UpstreamOptions> = {}) {
  const options: UpstreamOptions = {
    allowPrivate: false,
    tls: { insecureSkipVerify: false },
    credentials: [],
    tokenRealm: null,
    limits: { connections: 4 },
    offline: false,
    ...more,
  };
  const timeouts = { connectMs: 5000, headersMs: 5000, bodyMs: 5000 };
  return openTransport("reg.test", [new URL(endpoint)], options, timeouts, systemClock, network);
}

for (const lane of LANES) {
  test(`${lane}: a name is resolved and judged, and led to another place under its own name`, async (t) => {
    const names: unknown[] = [];
    const server = await serve(
      t,
      (socket, request) => {
        names.push((socket as TLSSocket).servername, /^host: (.*)\r$/im.exec(request)?.[1]);
        socket.write(whole("led"));
      },
      { tls: { cert: readFileSync(pem("server")), key: readFileSync(pem("server-key")) } },
    );
    const asked: string[] = [];
    const transport = open(
      "https://localhost",
      {
        resolve: (name, _options, callback) => {
          asked.push(name);
          callback(null, [{ address: "93.184.216.34", family: 4 }]);
        },
        divert: (host, port) => {
          assert.deepEqual([host, port], ["localhost", 443]);
          return { address: "127.0.0.1", port: server.port };
        },
      },
      { tls: { insecureSkipVerify: false, ca: pem("server") } },
    );
    t.after(() => transport.close());
    const answer = await transport.request(new URL("https://localhost/x"), {
      method: "GET",
      headers: {},
      lane,
      signal: never,
    });
    assert.equal((await readAll(answer.body)).toString(), "led");
    assert.deepEqual(names, ["localhost", "localhost"]);
    assert.deepEqual(asked, ["localhost"]);
  });

  test(`${lane}: a way that leads elsewhere opens no address that is refused`, async (t) => {
    const server = await serve(t, (socket) => socket.write(whole("never")));
    const transport = open("http://reg.test", {
      resolve: (_name, _options, callback) => callback(null, [{ address: "10.0.0.1", family: 4 }]),
      divert: () => ({ address: "127.0.0.1", port: server.port }),
    });
    t.after(() => transport.close());
    for (const url of ["http://reg.test/", "http://10.0.0.1/", "http://169.254.169.254/"]) {
      const asked = transport.request(new URL(url), { method: "GET", headers: {}, lane, signal: never });
      await assert.rejects(asked, { name: "AddressRefused" });
    }
    assert.equal(server.sockets.length, 0);
  });
}
