/**
 * Upstreams over TLS: what is trusted, and what a mirror that does not trust says.
 */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createServer } from "node:https";
import type { AddressInfo } from "node:net";
import test from "node:test";
import { fileURLToPath } from "node:url";
import { digestOf } from "../../src/oci/digest.ts";
import { seededBytes } from "../kit/content.ts";
import { get } from "../kit/http.ts";
import { TestMirror } from "../kit/mirror.ts";

const pem = (name: string) => fileURLToPath(new URL(`../kit/tls/${name}.pem`, import.meta.url));
const bytes = seededBytes(100_000, 71);
const digest = digestOf(bytes);

async function pull(tls: object, options: { requireClientCertificate?: boolean } = {}) {
  const server = createServer(
    {
      cert: readFileSync(pem("server")),
      key: readFileSync(pem("server-key")),
      ...(options.requireClientCertificate ? { requestCert: true, ca: readFileSync(pem("client")) } : {}),
    },
    (_request, response) => response.writeHead(200, { "content-length": bytes.length }).end(bytes),
  );
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  try {
    const url = `https://localhost:${(server.address() as AddressInfo).port}`;
    await using mirror = await TestMirror.start({ upstreams: { "registry.example.com": url }, upstream: { tls } });
    return await get(`${mirror.url}/v2/demo/blobs/${digest}`);
  } finally {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  }
}

test("a certificate that nobody vouches for is refused, and the answer says what to set", async () => {
  const answer = await pull({});
  assert.equal(answer.status, 502);
  assert.match(answer.body.toString(), /tls\.ca/);
});

test("an upstream is trusted by tls.ca", async () => {
  assert.deepEqual((await pull({ ca: pem("server") })).body, bytes);
});

test("an upstream is accepted by tls.insecureSkipVerify", async () => {
  assert.deepEqual((await pull({ insecureSkipVerify: true })).body, bytes);
});

test("an upstream that wants a client certificate gets ours, and refuses us without", async () => {
  const ours = { cert: pem("client"), key: pem("client-key") };
  const required = { requireClientCertificate: true };
  assert.deepEqual((await pull({ ca: pem("server"), ...ours }, required)).body, bytes);
  assert.equal((await pull({ ca: pem("server") }, required)).status, 502);
});
