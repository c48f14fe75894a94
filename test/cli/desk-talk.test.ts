/** What a command makes of the answers of an admin API, good ones and others. */
import assert from "node:assert/strict";
import { PassThrough, Readable } from "node:stream";
import test from "node:test";
import { isFailure } from "../../src/base/failure.ts";
import { deskOver } from "../../src/cli/desk-talk.ts";
import type { AdminQuestion } from "../../src/http/admin-client.ts";

function deskWith(status: number, body: Readable | string) {
  const asked: AdminQuestion[] = [];
  const stream = typeof body === "string" ? Readable.from([Buffer.from(body)]) : body;
  const desk = deskOver({
    remote: true,
    async send(question) {
      asked.push(question);
      return { status, contentType: undefined, lengthBytes: undefined, body: stream };
    },
    async close() {},
  });
  return { desk, asked, stream };
}

async function all(events: AsyncIterable<object>): Promise<object[]> {
  const seen: object[] = [];
  for await (const event of events) seen.push(event);
  return seen;
}

test("input goes into the query or the body, as the method has it", async () => {
  const { desk, asked } = deskWith(200, "{}");
  await desk.call("GET", "/api/v1/x", { name: "a&b", of: ["x", "y"], none: undefined });
  assert.equal(String(asked[0]?.query), "name=a%26b&of=x&of=y");
  const other = deskWith(200, "{}");
  await other.desk.call("PUT", "/api/v1/x", { name: "a" });
  assert.equal(other.asked[0]?.body, '{"name":"a"}');
  assert.equal(other.asked[0]?.contentType, "application/json");
});

test("a failure comes as it was thrown; what is no wharfinger is told as that", async () => {
  const failing = (status: number, body: string) => deskWith(status, body).desk.call("GET", "/api/v1/x");
  await assert.rejects(failing(403, '{"error":{"kind":"denied","message":"no"}}'), (error) =>
    isFailure(error, "denied"),
  );
  await assert.rejects(failing(500, '{"error":{"kind":"bug","message":"x"}}'), /its log says more/);
  for (const body of ['{"error":{"kind":"odd","message":"x"}}', '{"error":1}', "[]", "null"]) {
    await assert.rejects(failing(404, body), /no wharfinger's admin API/, body);
  }
  for (const body of ["<html>", "", "1", "{"]) {
    await assert.rejects(failing(200, body), (error) => isFailure(error, "unreachable"), body);
  }
});

test("events end with the result; a failure is thrown; what breaks off is not taken for done", async () => {
  const lines = (...told: string[]) => deskWith(200, told.join("\n")).desk.events("/api/v1/x", {});
  const done = '{"event":"done","result":{}}\n';
  assert.equal((await all(lines('{"event":"a"}', "", "", done))).length, 2);
  await assert.rejects(all(lines('{"event":"failed","kind":"storage","message":"full"}\n')), (error) =>
    isFailure(error, "storage"),
  );
  for (const told of ['{"event":"a"}\n', "", "5\n", '{"event":"don', '{"event":1}\n']) {
    await assert.rejects(all(lines(told)), (error) => isFailure(error, "unreachable"), told);
  }
});

test("lines that come in pieces, letters in halves included, are put together", async () => {
  const text = Buffer.from('{"event":"a","name":"größe"}\n{"event":"done","result":{}}\n');
  const body = Readable.from([...text].map((byte) => Buffer.from([byte])));
  const events = await all(deskWith(200, body).desk.events("/api/v1/x", {}));
  assert.deepEqual(events[0], { event: "a", name: "größe" });
});

test("a line without end is given up", async () => {
  const endless = new Readable({
    read() {
      this.push(Buffer.alloc(64 * 1024, "x"));
    },
  });
  await assert.rejects(all(deskWith(200, endless).desk.events("/api/v1/x", {})), /a line without end/);
  assert.equal(endless.destroyed, true);
});

test("whoever leaves the loop, or aborts, ends the work", async () => {
  const first = new PassThrough();
  const leaving = deskWith(200, first);
  first.write('{"event":"a"}\n');
  for await (const event of leaving.desk.events("/api/v1/x", {})) {
    assert.equal(event.event, "a");
    break;
  }
  assert.equal(first.destroyed, true);
  assert.equal(leaving.asked[0]?.signal.aborted, true);
  const second = deskWith(200, new PassThrough());
  const abort = new AbortController();
  const reason = new Error("Ctrl-C");
  abort.abort(reason);
  second.stream.destroy();
  await assert.rejects(all(second.desk.events("/api/v1/x", {}, { signal: abort.signal })), reason);
});
