/**
 * TLS to an upstream: which files are taken, and which host they are for.
 */
import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { createServer } from "node:https";
import type { AddressInfo } from "node:net";
import { networkInterfaces } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import type { TLSSocket } from "node:tls";
import { fileURLToPath } from "node:url";
import { isFailure } from "../../../src/base/failure.ts";
import { makeTempDir } from "../../kit/temp.ts";
import { app, ask, latest, never } from "../scene.ts";

const pem = (name: string) => fileURLToPath(new URL(`../../kit/tls/${name}.pem`, import.meta.url));
const hasV6 = Object.values(networkInterfaces()).some((all) => all?.some(({ address }) => address === "::1"));

test("an address of IPv6 is the upstream's own host: its waived verification and our certificate hold there", {
  skip: hasV6 ? false : "no IPv6 here",
}, async (t) => {
  const certificates: boolean[] = [];
  const files = { key: readFileSync(pem("server-key")), cert: readFileSync(pem("server")) };
  const server = createServer({ ...files, requestCert: true, rejectUnauthorized: false }, (request, response) => {
    certificates.push(Object.keys((request.socket as TLSSocket).getPeerCertificate()).length > 0);
    response.end("{}");
  });
  await new Promise<void>((resolve) => server.listen(0, "::1", resolve));
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  const { port } = server.address() as AddressInfo;
  const tls = { insecureSkipVerify: true, cert: pem("client"), key: pem("client-key") };
  const { upstream } = ask(t, `https://[::1]:${port}`, { tls });
  assert.ok("bytes" in (await upstream.getManifest(app, latest, never)));
  assert.deepEqual(certificates, [true]);
});

test("a TLS file that holds something else is refused at start, by its name", async (t) => {
  await using dir = await makeTempDir("tls");
  const garbage = join(dir.path, "garbage.pem");
  writeFileSync(garbage, "this is no PEM\n");
  for (const [setting, files] of Object.entries({
    ca: { ca: garbage },
    cert: { cert: garbage, key: pem("client-key") },
    key: { cert: pem("client"), key: garbage },
  })) {
    assert.throws(
      () => ask(t, "https://127.0.0.1:1", { tls: { insecureSkipVerify: false, ...files } }),
      (error) =>
        isFailure(error, "invalid") && error.message.startsWith(`upstreams.reg.test.tls.${setting}: ${garbage}`),
    );
  }
  const mixed = { insecureSkipVerify: false, cert: pem("client"), key: pem("server-key") };
  assert.throws(
    () => ask(t, "https://127.0.0.1:1", { tls: mixed }),
    (error) => isFailure(error, "invalid") && error.message.includes("tls.key"),
  );
  ask(t, "https://127.0.0.1:1", { tls: { ...mixed, ca: pem("server"), key: pem("client-key") } });
});
