/**
 * Names with several addresses, and names whose addresses change: which of them a connection goes to, on both lanes.
 */
import assert from "node:assert/strict";
import { Socket } from "node:net";
import { networkInterfaces } from "node:os";
import { test } from "node:test";
import type { TlsOptions } from "node:tls";
import { MAX_AGE_MS } from "../../../src/upstream/wire/pool.ts";
import { connectFirst } from "../../../src/upstream/wire/race.ts";
import { ManualClock } from "../../kit/clock.ts";
import { openResources, residueSince } from "../../kit/residue.ts";
import { never, serve, until, whole } from "../wire/scene.ts";
import { dropAll } from "./deadport.ts";
import { LANES, names, openLane, pem, shows } from "./lanes.ts";

const hasV6 = Object.values(networkInterfaces()).some((all) => all?.some(({ address }) => address === "::1"));
const trusting = { tls: { insecureSkipVerify: false, ca: pem("one") } };

for (const lane of LANES) {
  for (const tls of [undefined, shows("one")] satisfies (TlsOptions | undefined)[]) {
    const scheme = tls === undefined ? "http" : "https";

    test(`${lane}: by ${scheme}, an address that never answers does not keep us from the next one`, async (t) => {
      const server = await serve(t, (socket) => socket.write(whole("alive")), tls === undefined ? {} : { tls });
      await dropAll(t, "127.0.0.7", server.port);
      const baseline = openResources();
      const clock = new ManualClock();
      const book = names({ "one.test": [["127.0.0.7", "127.0.0.1"]] });
      const wire = openLane(t, lane, "https://one.test", { network: book, options: trusting, clock });
      const text = wire.text(`${scheme}://one.test:${server.port}/`);
      await clock.advance(249);
      assert.equal(server.sockets.length, 0);
      await clock.advance(1);
      assert.equal(await text, "alive");
      assert.deepEqual(book.asked, ["one.test"]);
      await wire.close();
      await until(() => server.open() === 0);
      assert.deepEqual(await residueSince(baseline), []);
    });

    test(`${lane}: by ${scheme}, an address that refuses is followed by the next at once`, async (t) => {
      const server = await serve(t, (socket) => socket.write(whole("alive")), tls === undefined ? {} : { tls });
      const book = names({ "one.test": [["127.0.0.8", "127.0.0.9", "127.0.0.1"]] });
      const clock = new ManualClock();
      const wire = openLane(t, lane, "https://one.test", { network: book, options: trusting, clock });
      assert.equal(await wire.text(`${scheme}://one.test:${server.port}/`), "alive");
    });
  }

  test(`${lane}: where no address answers, what the first one failed with is told`, async (t) => {
    const server = await serve(t, () => {});
    const book = names({ "one.test": [["127.0.0.8", "127.0.0.9"]] });
    const wire = openLane(t, lane, "http://one.test", { network: book });
    assert.match((await wire.failure(`http://one.test:${server.port}/`)).message, /refuses connections/);
  });

  test(`${lane}: an address that never answers, alone, is given up in time, and nothing is left`, async (t) => {
    const port = await dropAll(t, "127.0.0.7");
    const baseline = openResources();
    const clock = new ManualClock();
    const wire = openLane(t, lane, "http://one.test", {
      network: names({ "one.test": [["127.0.0.7"]] }),
      clock,
      timeouts: { connectMs: 2000 },
    });
    const asked = wire.failure(`http://one.test:${port}/`);
    await clock.advance(0);
    await clock.advance(2000);
    const failure = await asked;
    assert.ok(failure.timedOut);
    assert.match(failure.message, /did not accept a connection in time/);
    assert.deepEqual(await residueSince(baseline), []);
  });

  test(`${lane}: closing gives up what is still being connected, and a resolver that never answers`, async (t) => {
    const port = await dropAll(t, "127.0.0.7");
    const baseline = openResources();
    for (const network of [names({ "one.test": [["127.0.0.7"]] }), { resolve: () => {} }]) {
      const wire = openLane(t, lane, "http://one.test", { network });
      const asked = wire.failure(`http://one.test:${port}/`);
      await new Promise((resolve) => setTimeout(resolve, 20));
      await wire.close();
      assert.match((await asked).message, /this upstream is closed/);
    }
    assert.deepEqual(await residueSince(baseline), []);
  });

  test(`${lane}: after a failed attempt the name is asked anew`, async (t) => {
    const server = await serve(t, (socket) => socket.write(whole("moved")));
    const book = names({ "one.test": [["127.0.0.8"], ["127.0.0.1"]] });
    const wire = openLane(t, lane, "http://one.test", { network: book });
    const url = `http://one.test:${server.port}/`;
    assert.match((await wire.failure(url)).message, /refuses connections/);
    assert.equal(await wire.text(url), "moved");
  });

  test(`${lane}: a kept connection is left after five minutes, and the name's new address used`, async (t) => {
    t.mock.timers.enable({ apis: ["Date"], now: Date.UTC(2026, 0, 1) });
    const old = await serve(t, (socket) => socket.write(whole("old")), { host: "127.0.0.2" });
    const fresh = await serve(t, (socket) => socket.write(whole("new")), { host: "127.0.0.3", port: old.port });
    const book = names({ "one.test": [["127.0.0.2"], ["127.0.0.3"]] });
    const wire = openLane(t, lane, "http://one.test", { network: book });
    const url = `http://one.test:${old.port}/`;
    assert.equal(await wire.text(url), "old");
    t.mock.timers.setTime(Date.UTC(2026, 0, 1) + MAX_AGE_MS);
    assert.equal(await wire.text(url), "old");
    assert.equal(old.sockets.length, 1);
    t.mock.timers.setTime(Date.UTC(2026, 0, 1) + MAX_AGE_MS + 1);
    assert.equal(await wire.text(url), "new");
    assert.equal(fresh.sockets.length, 1);
    await until(() => old.open() === 0);
  });
}

test("families take turns, beginning with the resolver's first, and each keeps the resolver's order", async () => {
  const tried: string[] = [];
  const clock = new ManualClock();
  const places = ["fd00::1", "fd00::2", "fd00::3", "10.0.0.1", "10.0.0.2"].map((address) => ({ address, port: 1 }));
  const failing = connectFirst(places, clock, never, ({ address }) => {
    tried.push(address);
    return new Socket().destroy(new Error(`${address} is dead`));
  });
  await assert.rejects(failing, AggregateError);
  assert.deepEqual(tried, ["fd00::1", "10.0.0.1", "fd00::2", "10.0.0.2", "fd00::3"]);
});

test("a dead address of IPv6 is followed by one of IPv4", { skip: hasV6 ? false : "no IPv6 here" }, async (t) => {
  const server = await serve(t, (socket) => socket.write(whole("four")));
  for (const lane of LANES) {
    const wire = openLane(t, lane, "http://one.test", { network: names({ "one.test": [["::1", "127.0.0.1"]] }) });
    assert.equal(await wire.text(`http://one.test:${server.port}/`), "four");
  }
});
