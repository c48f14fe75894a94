/**
 * An upstream's TLS files, on both lanes: bundles, the client certificate and whom it is shown to, replaced files.
 */
import assert from "node:assert/strict";
import { copyFileSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import type { TLSSocket } from "node:tls";
import { isFailure } from "../../../src/base/failure.ts";
import { ManualClock } from "../../kit/clock.ts";
import { makeTempDir } from "../../kit/temp.ts";
import { app, ask, digest, latest, never } from "../scene.ts";
import { serve, whole } from "../wire/scene.ts";
import { LANES, names, openLane, pem, shows } from "./lanes.ts";

const book = { "one.test": [["127.0.0.1"]], "two.test": [["127.0.0.1"]] };

/** Says which certificate it was shown; none is "". Closes each connection behind its answer. */
async function asking(t: TestContext, certificate: string) {
  const shown: string[] = [];
  const server = await serve(
    t,
    (socket) => {
      shown.push((socket as TLSSocket).getPeerCertificate().fingerprint256 ?? "");
      socket.end(whole("{}", "connection: close\r\n"));
    },
    { tls: { ...shows(certificate), requestCert: true, rejectUnauthorized: false } },
  );
  return { port: server.port, shown };
}

async function inTemp(t: TestContext) {
  const dir = await makeTempDir("tlsfiles");
  t.after(() => dir[Symbol.asyncDispose]());
  return (name: string) => join(dir.path, name);
}

for (const lane of LANES) {
  test(`${lane}: every certificate of a bundle is trusted, besides the known ones`, async (t) => {
    const path = await inTemp(t);
    const bundle = ["server", "one", "two"].map((name) => `# ${name}\n${readFileSync(pem(name), "utf8")}`).join("\n");
    writeFileSync(path("bundle.pem"), bundle);
    const one = await asking(t, "one");
    const two = await asking(t, "two");
    const tls = { insecureSkipVerify: false, ca: path("bundle.pem") };
    const wire = openLane(t, lane, "https://one.test", { network: names(book), options: { tls } });
    assert.equal(await wire.text(`https://one.test:${one.port}/`), "{}");
    assert.equal(await wire.text(`https://two.test:${two.port}/`), "{}");
    const untrusting = openLane(t, lane, "https://one.test", {
      network: names(book),
      options: { tls: { insecureSkipVerify: false, ca: pem("server") } },
    });
    assert.match((await untrusting.failure(`https://one.test:${one.port}/`)).message, /signed by no known authority/);
  });

  test(`${lane}: the client certificate is shown to the upstream's endpoints, and to no other host`, async (t) => {
    const path = await inTemp(t);
    writeFileSync(path("ca.pem"), readFileSync(pem("one"), "utf8") + readFileSync(pem("two"), "utf8"));
    const one = await asking(t, "one");
    const two = await asking(t, "two");
    const tls = { insecureSkipVerify: false, ca: path("ca.pem"), cert: pem("client"), key: pem("client-key") };
    const wire = openLane(t, lane, "https://one.test", { network: names(book), options: { tls } });
    await wire.text(`https://one.test:${one.port}/`);
    await wire.text(`https://two.test:${two.port}/`);
    assert.match(one.shown.join(), /^[0-9A-F:]+$/);
    assert.deepEqual(two.shown, [""]);
  });

  test(`${lane}: a redirect to another host does not take the client certificate along`, async (t) => {
    const path = await inTemp(t);
    writeFileSync(path("ca.pem"), readFileSync(pem("one"), "utf8") + readFileSync(pem("two"), "utf8"));
    const two = await asking(t, "two");
    const certificates: boolean[] = [];
    const one = await serve(
      t,
      (socket) => {
        certificates.push((socket as TLSSocket).getPeerCertificate().fingerprint256 !== undefined);
        socket.write(`HTTP/1.1 307 T\r\nlocation: https://two.test:${two.port}/x\r\ncontent-length: 0\r\n\r\n`);
      },
      { tls: { ...shows("one"), requestCert: true, rejectUnauthorized: false } },
    );
    const tls = { insecureSkipVerify: false, ca: path("ca.pem"), cert: pem("client"), key: pem("client-key") };
    const network = { env: {}, ...names(book) };
    const { upstream } = ask(t, `https://one.test:${one.port}`, { tls }, network);
    if (lane === "small") assert.ok("bytes" in (await upstream.getManifest(app, latest, never)));
    else {
      const opened = await upstream.openBlob(app, digest, undefined, never);
      assert.ok("body" in opened);
      opened.body.destroy();
    }
    assert.deepEqual(certificates, [true]);
    assert.deepEqual(two.shown, [""]);
  });

  test(`${lane}: replaced files are taken for new connections; half of a pair and a missing file are not`, async (t) => {
    const path = await inTemp(t);
    const put = (from: string, to: string) => copyFileSync(pem(from), path(to));
    put("one", "ca.pem");
    put("client", "cert.pem");
    put("client-key", "key.pem");
    const one = await asking(t, "one");
    const clock = new ManualClock();
    const tls = { insecureSkipVerify: false, ca: path("ca.pem"), cert: path("cert.pem"), key: path("key.pem") };
    const wire = openLane(t, lane, "https://one.test", { network: names(book), options: { tls }, clock });
    const url = `https://one.test:${one.port}/`;
    await wire.text(url);
    put("client-known", "cert.pem");
    clock.jump(6000);
    await wire.text(url);
    assert.match(wire.troubles.join(), /^upstreams\.reg\.test\.tls\.key: .*; what was read before is still used$/);
    clock.jump(6000);
    await wire.text(url);
    assert.equal(wire.troubles.length, 1);
    put("client-known-key", "key.pem");
    await wire.text(url);
    clock.jump(6000);
    await wire.text(url);
    const [first, half, again, early, last] = one.shown;
    assert.ok(first !== "" && first === half && first === again && first === early);
    assert.ok(last !== "" && last !== first);
    rmSync(path("key.pem"));
    clock.jump(6000);
    await wire.text(url);
    assert.equal(one.shown.at(-1), last);
    put("client-known-key", "key.pem");
    put("two", "ca.pem");
    clock.jump(6000);
    assert.match((await wire.failure(url)).message, /signed by no known authority/);
  });
}

test("a bundle with a damaged certificate in it is refused at start", async (t) => {
  const path = await inTemp(t);
  const good = readFileSync(pem("one"), "utf8");
  for (const damaged of [good.replace(/M/g, "!"), good.slice(0, 200)]) {
    writeFileSync(path("bundle.pem"), good + damaged);
    assert.throws(
      () =>
        openLane(t, "small", "https://one.test", {
          options: { tls: { insecureSkipVerify: false, ca: path("bundle.pem") } },
        }),
      (error) => isFailure(error, "invalid") && error.message.includes("tls.ca"),
    );
  }
});
