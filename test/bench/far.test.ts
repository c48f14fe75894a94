/** The far network: when bytes come out of it, and that they are the same bytes. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:net";
import { test } from "node:test";
import { FarLine } from "../../bench/far.ts";
import { Pace } from "../../bench/pace.ts";
import { seededBytes } from "../kit/content.ts";
import { get } from "../kit/http.ts";

test("a single byte takes the delay, and a burst no longer than the rate allows", () => {
  const pace = new Pace({ delayMs: 20, bytesPerMs: 100 });
  assert.equal(pace.dueAt(1, 1000), 1020);
  const last = Array.from({ length: 10 }, () => pace.dueAt(1000, 1000)).at(-1) ?? 0;
  // 10 001 bytes at 100 a millisecond, less the 5 ms that may be made up for.
  assert.ok(Math.abs(last - (1000 - 5 + 100.01 + 20)) < 1e-6, `${last}`);
});

test("a line that is kept busy carries its rate, however unevenly it is fed", () => {
  const pace = new Pace({ delayMs: 0, bytesPerMs: 100 });
  let last = 0;
  // Fed every 50 ms with what 50 ms carry.
  for (let now = 0; now < 1000; now += 50) last = pace.dueAt(5000, now);
  assert.ok(Math.abs(last - 1000) <= 5, `${last}`);
});

test("time that was not used cannot be used later", () => {
  const pace = new Pace({ delayMs: 0, bytesPerMs: 100 });
  pace.dueAt(100, 0);
  assert.equal(pace.dueAt(10_000, 5000), 5000 - 5 + 100);
});

test("nothing comes out before the line is open, and what comes after keeps its order", () => {
  const pace = new Pace({ delayMs: 20, bytesPerMs: Number.POSITIVE_INFINITY, notBefore: 60 });
  assert.deepEqual([pace.dueAt(10, 0), pace.dueAt(10, 30), pace.dueAt(10, 50)], [60, 60, 70]);
});

test("a body comes through the shim as it was sent, and its end too", async () => {
  const body = seededBytes(3_000_000);
  const server = createServer((socket) => {
    socket.on("error", () => {});
    socket.once("data", () => {
      socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${body.length}\r\nConnection: close\r\n\r\n`);
      socket.end(body);
    });
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  assert.ok(typeof address === "object" && address !== null);
  try {
    await using far = await FarLine.open(address.port, 1, 8e9);
    const answer = await get(far.url);
    assert.equal(answer.status, 200);
    assert.ok(answer.complete);
    assert.ok(answer.body.equals(body));
  } finally {
    server.close();
    await once(server, "close");
  }
});
