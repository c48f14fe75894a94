/**
 * Another network in the place of the machine's: names and ways of a test's own, on both lanes, judged as ever.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { TLSSocket } from "node:tls";
import { serve, until, whole } from "../wire/scene.ts";
import { LANES, names, openLane, pem, shows } from "./lanes.ts";

for (const lane of LANES) {
  test(`${lane}: a name is resolved and judged, and led to another place under its own name`, async (t) => {
    const seen: unknown[] = [];
    const server = await serve(
      t,
      (socket, request) => {
        seen.push((socket as TLSSocket).servername, /^host: (.*)\r$/im.exec(request)?.[1]);
        socket.write(whole("led"));
      },
      { tls: shows("one") },
    );
    const { resolve, asked } = names({ "one.test": [["93.184.216.34"]] });
    const divert = (host: string, port: number) => {
      assert.deepEqual([host, port], ["one.test", 443]);
      return { address: "127.0.0.1", port: server.port };
    };
    const options = { allowPrivate: false, tls: { insecureSkipVerify: false, ca: pem("one") } };
    const wire = openLane(t, lane, "https://one.test", { network: { resolve, divert }, options });
    assert.equal(await wire.text("https://one.test/x"), "led");
    assert.deepEqual(seen, ["one.test", "one.test"]);
    assert.deepEqual(asked, ["one.test"]);
  });

  test(`${lane}: a literal is verified as itself, wherever it leads`, async (t) => {
    const server = await serve(t, (socket) => socket.write(whole("x")), { tls: shows("server") });
    const divert = () => ({ address: "127.0.0.1", port: server.port });
    const options = { tls: { insecureSkipVerify: false, ca: pem("server") } };
    const wire = openLane(t, lane, "https://127.0.0.1", { network: { divert }, options });
    assert.equal(await wire.text("https://127.0.0.1/"), "x");
    assert.match((await wire.failure("https://127.0.0.2/")).message, /certificate of 127\.0\.0\.2 is for another name/);
  });

  test(`${lane}: a way that leads elsewhere opens no address that is refused`, async (t) => {
    const server = await serve(t, (socket) => socket.write(whole("never")));
    const { resolve } = names({ "reg.test": [["10.0.0.1"]] });
    const divert = () => ({ address: "127.0.0.1", port: server.port });
    const options = { allowPrivate: false };
    const wire = openLane(t, lane, "http://reg.test", { network: { resolve, divert }, options });
    for (const url of ["http://reg.test/", "http://10.0.0.1/", "http://169.254.169.254/"]) {
      await assert.rejects(wire.get(url), { name: "AddressRefused" });
    }
    assert.equal(server.sockets.length, 0);
  });

  test(`${lane}: the address that was judged is connected to, whatever the name says the next moment`, async (t) => {
    const judged = await serve(t, (socket) => socket.end(whole("judged", "connection: close\r\n")), {
      host: "127.0.0.4",
    });
    const changed = await serve(t, (socket) => socket.write(whole("changed")), {
      host: "127.0.0.5",
      port: judged.port,
    });
    const book = names({ "rebind.test": [["127.0.0.4"], ["169.254.169.254", "127.0.0.5"]] });
    const wire = openLane(t, lane, "http://rebind.test", { network: book });
    const url = `http://rebind.test:${judged.port}/`;
    assert.equal(await wire.text(url), "judged");
    assert.deepEqual(book.asked, ["rebind.test"]);
    await until(() => judged.open() === 0);
    await assert.rejects(wire.get(url), { name: "AddressRefused" });
    assert.deepEqual(book.asked, ["rebind.test", "rebind.test"]);
    assert.equal(judged.sockets.length, 1);
    assert.equal(changed.sockets.length, 0);
  });
}
