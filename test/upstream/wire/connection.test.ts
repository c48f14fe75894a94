/**
 * Connections of our own against servers that answer as they like: what is kept, what is refused, what is left open.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { failureOf, wasStaleConnection } from "../../../src/upstream/exchange/trouble.ts";
import { ManualClock } from "../../kit/clock.ts";
import { seededBytes } from "../../kit/content.ts";
import { openResources, residueSince } from "../../kit/residue.ts";
import { never, readAll, serve, until, whole, wireTo } from "./scene.ts";

/** The code of what a request or its body fails with. */
async function codeOf(failing: Promise<unknown>): Promise<string> {
  const error = await failing.then(
    () => assert.fail("it should have failed"),
    (thrown: unknown) => thrown,
  );
  const failure = failureOf(error, "reg.test", new URL("http://reg.test/"));
  assert.equal(failure.kind, "unreachable");
  assert.equal(failure.timedOut, /TIMEOUT/.test(String((error as { code?: string }).code)));
  return String((error as { code?: string }).code);
}

test("requests one after another share a connection, by length and by chunks, also without a body", async (t) => {
  const answers = [
    whole("one"),
    "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\ntwo\r\n0\r\n\r\n",
    "HTTP/1.1 204 No Content\r\n\r\n",
    whole(""),
    whole("five", "keep-alive: timeout=10\r\n"),
  ];
  const requests: string[] = [];
  const server = await serve(t, (socket, request, count) => {
    requests.push(request);
    socket.write(answers[count - 1] ?? "");
  });
  const wire = wireTo(t, server.url);
  const texts: string[] = [];
  for (const _ of answers) texts.push((await wire.text(`${server.url}/v2/x?y=1`)).text);
  assert.deepEqual(texts, ["one", "two", "", "", "five"]);
  assert.equal(server.sockets.length, 1);
  assert.equal(
    requests[0],
    `GET /v2/x?y=1 HTTP/1.1\r\nhost: 127.0.0.1:${server.port}\r\nconnection: keep-alive\r\naccept: */*\r\n\r\n`,
  );
});

test("a connection is not used again after anything unusual, though the answer counts", async (t) => {
  const unusual = [
    whole("x", "connection: close\r\n"),
    whole("x", "connection: keep-alive, close\r\n"),
    whole("x", "keep-alive: timeout=soon\r\n"),
    whole("x", "keep-alive: timeout=0\r\n"),
    "HTTP/1.0 200 OK\r\ncontent-length: 1\r\n\r\nx",
    "HTTP/1.1 103 Early Hints\r\nlink: a\r\n\r\nHTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nx",
    `${whole("x")}garbage`,
    `${whole("x")}${whole("evil")}`,
    "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\ngarbage",
    `HTTP/1.1 204 No Content\r\n\r\n${whole("evil")}`,
  ];
  for (const answer of unusual) {
    const server = await serve(t, (socket, _request, count) => socket.write(count === 1 ? answer : whole("second")));
    const wire = wireTo(t, server.url);
    const first = await wire.text(server.url);
    assert.equal(first.text, first.status === 204 ? "" : "x", answer);
    assert.equal((await wire.text(server.url)).text, "second", answer);
    assert.equal(server.sockets.length, 2, answer);
  }
});

test("a body that ends with its connection is read to there", async (t) => {
  for (const version of ["1.0", "1.1"]) {
    const server = await serve(t, (socket) => {
      socket.write(`HTTP/${version} 200 OK\r\n\r\nall `);
      setImmediate(() => socket.end("of it"));
    });
    const wire = wireTo(t, server.url);
    assert.equal((await wire.text(server.url)).text, "all of it");
    await until(() => server.open() === 0);
  }
});

test("bytes that come while nobody asks end the connection, and the next request has another", async (t) => {
  const server = await serve(t, (socket, _request, count) => {
    socket.write(whole(String(count)));
    if (count === 1) setTimeout(() => socket.write(whole("evil")), 20);
  });
  const wire = wireTo(t, server.url);
  assert.equal((await wire.text(server.url)).text, "1");
  await until(() => server.open() === 0);
  assert.equal((await wire.text(server.url)).text, "2");
  assert.equal(server.sockets.length, 2);
});

test("what is no answer fails, and its connection is closed", async (t) => {
  const good = "HTTP/1.1 200 OK\r\n";
  const cases: [answer: string, code: string][] = [
    ["SSH-2.0-OpenSSH_9\r\n", "WIRE_MALFORMED"],
    ["\x15\x03\x03\0\x02\x02\x16", "WIRE_MALFORMED"],
    [`${good}a: b\r\n c\r\n\r\n`, "WIRE_MALFORMED"],
    [`${good}content-length: 5\r\ncontent-length: 6\r\n\r\n`, "WIRE_MALFORMED"],
    [`${good}content-length: -5\r\n\r\n`, "WIRE_MALFORMED"],
    [`${good}content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n`, "WIRE_MALFORMED"],
    [`${good}transfer-encoding: gzip, chunked\r\n\r\n`, "WIRE_MALFORMED"],
    ["HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\n\r\n", "WIRE_MALFORMED"],
    ["HTTP/1.1 100 Continue\r\n\r\n".repeat(100), "WIRE_MALFORMED"],
    [`${good}${"a: b\r\n".repeat(1000)}`, "WIRE_HEAD_TOO_LARGE"],
    [`${good}a: ${"b".repeat(70_000)}`, "WIRE_HEAD_TOO_LARGE"],
    [`HTTP/1.1 100 Continue\r\na: ${"b".repeat(30_000)}\r\n\r\n`.repeat(3), "WIRE_HEAD_TOO_LARGE"],
  ];
  for (const [answer, code] of cases) {
    const server = await serve(t, (socket) => socket.write(answer, "latin1"));
    const wire = wireTo(t, server.url);
    assert.equal(await codeOf(wire.get(server.url)), code, answer.slice(0, 60));
    await until(() => server.open() === 0);
  }
});

test("a body that is malformed or ends early fails as such, after the bytes that came", async (t) => {
  const chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
  const cases: [answer: string, end: "stay" | "end" | "reset", code: string][] = [
    [`${chunked}ffffffffffffffffff\r\n`, "stay", "WIRE_MALFORMED"],
    [`${chunked}-1\r\n`, "stay", "WIRE_MALFORMED"],
    [`${chunked}3\r\nabcdef\r\n`, "stay", "WIRE_MALFORMED"],
    [`${chunked}fffffff\r\nabc`, "end", "WIRE_CLOSED"],
    [`${chunked}3\r\nabc\r\n`, "end", "WIRE_CLOSED"],
    ["HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc", "end", "WIRE_CLOSED"],
    ["HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc", "reset", "ECONNRESET"],
  ];
  for (const [answer, end, code] of cases) {
    const server = await serve(t, (socket) => {
      socket.write(answer);
      if (end === "end") socket.end();
      if (end === "reset") setTimeout(() => socket.resetAndDestroy(), 20);
    });
    const wire = wireTo(t, server.url);
    assert.equal(await codeOf(wire.text(server.url)), code, answer);
    await until(() => server.open() === 0);
  }
});

test("a connection closed before it answered is stale where it was kept, and not where it is new", async (t) => {
  const server = await serve(t, (socket, _request, count) => {
    if (count === 1) socket.write(whole("x"));
    else socket.end();
  });
  const wire = wireTo(t, server.url);
  await wire.text(server.url);
  const stale = await wire.get(server.url).catch((error: unknown) => error);
  assert.ok(wasStaleConnection(stale));
  const fresh = await wire.get(server.url).catch((error: unknown) => error);
  assert.ok(fresh instanceof Error && !wasStaleConnection(fresh));
  assert.equal(server.sockets.length, 2);
  const half = await serve(t, (socket, _request, count) => {
    if (count === 1) socket.write(whole("x"));
    else socket.end("HTTP/1.1 20");
  });
  await wire.text(half.url);
  const begun = await wire.get(half.url).catch((error: unknown) => error);
  assert.ok(begun instanceof Error && !wasStaleConnection(begun));
});

test("a reset tells no more of staleness than an end: not of a new connection, nor after an answer began", async (t) => {
  const staleAfter = async (kept: boolean, begun: string) => {
    const server = await serve(t, (socket, _request, count) => {
      if (kept && count === 1) socket.write(whole("x"));
      else if (begun === "") socket.resetAndDestroy();
      else socket.write(begun, () => setTimeout(() => socket.resetAndDestroy(), 20));
    });
    const wire = wireTo(t, server.url);
    if (kept) await wire.text(server.url);
    const error = await wire.get(server.url).catch((thrown: unknown) => thrown);
    assert.match(failureOf(error, "reg.test", new URL(server.url)).message, /closed the connection/);
    assert.equal(server.sockets.length, 1);
    return wasStaleConnection(error);
  };
  assert.equal(await staleAfter(false, ""), false);
  assert.equal(await staleAfter(false, "HTTP/1.1 20"), false);
  assert.equal(await staleAfter(true, "HTTP/1.1 20"), false);
  assert.equal(await staleAfter(true, ""), true);
});

test("silence is a timeout in each phase: connecting, headers however slowly they drip, and the body", async (t) => {
  const clock = new ManualClock();
  const silent = await serve(t, () => {});
  // A server that never speaks TLS lets the connection never be ready.
  const connecting = wireTo(t, silent.url, {}, {}, clock);
  const secure = codeOf(connecting.get(silent.url.replace("http:", "https:")));
  await until(() => silent.sockets.length === 1);
  await clock.advance(5000);
  assert.equal(await secure, "WIRE_CONNECT_TIMEOUT");

  let dripped = 0;
  const dripping = await serve(t, (socket) => {
    socket.write("HTTP/1.1 200 OK\r\na: ");
    const timer = setInterval(() => socket.write("b", () => (dripped += 1)), 2);
    socket.once("close", () => clearInterval(timer));
  });
  const slow = wireTo(t, dripping.url, {}, {}, clock);
  const headers = codeOf(slow.get(dripping.url));
  await until(() => dripped > 20);
  await clock.advance(5000);
  assert.equal(await headers, "WIRE_HEADERS_TIMEOUT");

  const stalling = await serve(t, (socket) => socket.write("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc"));
  const stalled = wireTo(t, stalling.url, {}, { bodyMs: 50 });
  assert.equal(await codeOf(stalled.text(stalling.url)), "WIRE_BODY_TIMEOUT");
  await until(() => silent.open() + dripping.open() + stalling.open() === 0);
});

test("a receiver that takes its time is not the upstream's silence", async (t) => {
  const bytes = seededBytes(3_000_000, 5).toString("latin1");
  const server = await serve(t, (socket) => socket.write(whole(bytes), "latin1"));
  const wire = wireTo(t, server.url, {}, { bodyMs: 40 });
  const { body } = await wire.get(server.url);
  await sleep(80);
  const pieces: Buffer[] = [];
  let space = Buffer.alloc(1_000_000);
  const error = await new Promise<Error | undefined>((resolve) => {
    body.pour(
      {
        space: () => space,
        filled(count) {
          pieces.push(space.subarray(0, count));
          space = Buffer.alloc(1_000_000);
          if (pieces.length % 20 !== 1) return true;
          setTimeout(() => body.resume(), 80);
          return false;
        },
      },
      resolve,
    );
  });
  assert.equal(error, undefined);
  assert.ok(Buffer.concat(pieces).toString("latin1") === bytes);
});

test("an abort ends a request in each phase with its reason, and leaves nothing open", async (t) => {
  const reason = new Error("the caller left");
  const silent = await serve(t, () => {});
  const sending = await serve(t, (socket) => socket.write("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc"));
  const wire = wireTo(t, sending.url, { limits: { connections: 1 } });
  const early = new AbortController();
  early.abort(reason);
  await assert.rejects(wire.get(silent.url, early.signal), reason);
  for (const url of [silent.url.replace("http:", "https:"), silent.url]) {
    const caller = new AbortController();
    const known = silent.sockets.length;
    const asked = assert.rejects(wire.get(url, caller.signal), reason);
    await until(() => silent.sockets.length > known);
    caller.abort(reason);
    await asked;
  }
  const caller = new AbortController();
  const unread = await wire.get(sending.url, caller.signal);
  // Who waits for the only connection waits by the own signal.
  const waiting = new AbortController();
  const queued = assert.rejects(wire.get(sending.url, waiting.signal), reason);
  waiting.abort(reason);
  await queued;
  caller.abort(reason);
  await assert.rejects(readAll(unread.body), reason);
  const reader = new AbortController();
  const reading = assert.rejects(wire.text(sending.url, reader.signal), reason);
  await sleep(20);
  reader.abort(reason);
  await reading;
  await until(() => silent.open() + sending.open() === 0);
});

test("a body that is given up, before or while it is read, closes its connection and frees its place", async (t) => {
  const server = await serve(t, (socket) => socket.write("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nabc"));
  const wire = wireTo(t, server.url, { limits: { connections: 1 } });
  const unread = await wire.get(server.url);
  unread.body.destroy();
  const { body } = await wire.get(server.url);
  const filled = () => {
    body.destroy();
    return true;
  };
  body.pour({ space: () => Buffer.alloc(10), filled }, () => assert.fail());
  await until(() => server.open() === 0);
  (await wire.get(server.url)).body.destroy();
  assert.equal(server.sockets.length, 3);
});

test("no more connections are open than allowed, to all hosts together, and idle ones give way", async (t) => {
  let most = 0;
  const one = await serve(t, (socket) => {
    most = Math.max(most, one.open() + two.open());
    setTimeout(() => socket.write(whole("1")), 5);
  });
  const two = await serve(t, (socket) => {
    most = Math.max(most, one.open() + two.open());
    setTimeout(() => socket.write(whole("2")), 5);
  });
  const wire = wireTo(t, one.url, { limits: { connections: 3 } });
  await Promise.all(Array.from({ length: 12 }, () => wire.text(one.url)));
  assert.deepEqual([most, one.sockets.length], [3, 3]);
  await Promise.all(Array.from({ length: 12 }, () => wire.text(two.url)));
  assert.equal(two.sockets.length, 3);
  await until(() => one.open() === 0);
});

test("an idle connection is closed when its time is over or the server ends it, and holds nobody up", async (t) => {
  const server = await serve(t, (socket, _request, count) => {
    socket.write(whole(String(count), count === 1 ? "keep-alive: timeout=2\r\n" : ""));
    if (count === 2) setTimeout(() => socket.end(), 20);
  });
  const wire = wireTo(t, server.url);
  await wire.text(server.url);
  const held = process.getActiveResourcesInfo().filter((kind) => kind === "TCPSocketWrap").length;
  // The server's own end counts, ours does not.
  assert.ok(held <= server.open());
  await until(() => server.open() === 0);
  assert.equal((await wire.text(server.url)).text, "2");
  await until(() => server.open() === 0);
  assert.equal((await wire.text(server.url)).text, "3");
  assert.equal(server.sockets.length, 3);
});

test("closing fails what runs and what waits, and refuses what comes after", async (t) => {
  const server = await serve(t, (socket, _request, count) =>
    socket.write(count === 1 ? whole("x") : "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc"),
  );
  const wire = wireTo(t, server.url, { limits: { connections: 1 } });
  await wire.text(server.url);
  const running = codeOf(wire.text(server.url));
  const waiting = codeOf(wire.get(server.url));
  await sleep(20);
  await wire.close();
  assert.deepEqual(await Promise.all([running, waiting, codeOf(wire.get(server.url))]), [
    "WIRE_SHUT",
    "WIRE_SHUT",
    "WIRE_SHUT",
  ]);
  await until(() => server.open() === 0);
});

test("nothing is left open once all is closed, however requests ended", async (t) => {
  const server = await serve(t, (socket, _request, count) => {
    if (count % 3 === 0) socket.write("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc");
    else if (count % 3 === 1) socket.write(whole("x"));
    else socket.write("nonsense");
  });
  const baseline = openResources();
  const wire = wireTo(t, server.url, {}, { bodyMs: 100 });
  const secure = wire.text(server.url.replace("http:", "https:"), AbortSignal.timeout(50));
  const asked = Array.from({ length: 12 }, () => wire.text(server.url));
  await Promise.allSettled([secure, ...asked]);
  await wire.close();
  await until(() => server.open() === 0);
  assert.deepEqual(await residueSince(baseline), []);
});

test("addresses are checked before anything is connected to, by literal and by name", async (t) => {
  const server = await serve(t, (socket) => socket.write(whole("x")));
  const wire = wireTo(t, server.url, { allowPrivate: false });
  for (const url of [server.url, `http://localhost:${server.port}`, `http://[::1]:${server.port}`]) {
    await assert.rejects(wire.get(url), /allowPrivate/);
  }
  await assert.rejects(wireTo(t, server.url).get("http://169.254.169.254/latest"), /no registry is ever asked/);
  assert.equal(server.sockets.length, 0);
  // Both families are tried: nothing listens on the other.
  assert.equal((await wireTo(t, server.url).text(`http://localhost:${server.port}`)).text, "x");
});

test("nothing is sent that would be read as more than one request", async (t) => {
  const server = await serve(t, (socket) => socket.write(whole("x")));
  const wire = wireTo(t, server.url);
  for (const headers of [{ authorization: "Bearer a\r\nx: y" }, { "x y": "z" }, { range: "bytes=\0" }]) {
    await assert.rejects(wire.get(server.url, never, headers), /cannot be sent/);
  }
  assert.equal(server.sockets.length, 0);
});

test("ten megabytes come whole over one connection through spaces of odd sizes", async (t) => {
  const bytes = seededBytes(10_000_001, 9);
  const head = `HTTP/1.1 200 OK\r\ncontent-length: ${bytes.length}\r\n\r\n`;
  const server = await serve(t, (socket) => {
    socket.write(head);
    socket.write(bytes);
  });
  const wire = wireTo(t, server.url);
  for (let turn = 0; turn < 3; turn++) assert.ok((await readAll((await wire.get(server.url)).body)).equals(bytes));
  assert.equal(server.sockets.length, 1);
});
