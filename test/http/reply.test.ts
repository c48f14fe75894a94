/** How a failure is told to a client. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Failure, type FailureKind } from "../../src/base/failure.ts";
import { agingHeaders, commonHeaders, replyFailure } from "../../src/http/reply.ts";
import { fakeExchange } from "./fake-exchange.ts";

function told(error: unknown) {
  const { exchange, response } = fakeExchange();
  replyFailure(exchange, error);
  const text = response.body.toString();
  const { errors } = JSON.parse(text) as { errors: { code: string; message: string; detail?: unknown }[] };
  const { statusCode: status, headers } = response;
  assert.equal(errors.length, 1);
  assert.equal(headers["Content-Length"], response.body.length);
  assert.equal(headers["Content-Type"], "application/json");
  assert.equal(headers["Cache-Control"], "no-store");
  assert.ok(errors[0] !== undefined);
  return { exchange, text, status, headers, ...errors[0] };
}

test("every kind of failure has its status and code, and trouble with an upstream is never 401 or 403", () => {
  const table: Record<FailureKind, [status: number, code: string]> = {
    invalid: [400, "NAME_INVALID"],
    unauthenticated: [401, "UNAUTHORIZED"],
    denied: [403, "DENIED"],
    unknown: [404, "NAME_UNKNOWN"],
    unsupported: [405, "UNSUPPORTED"],
    limited: [429, "TOOMANYREQUESTS"],
    refused: [502, "UNAVAILABLE"],
    corrupt: [502, "UNAVAILABLE"],
    unreachable: [502, "UNAVAILABLE"],
    overloaded: [503, "UNAVAILABLE"],
    storage: [500, "UNKNOWN"],
  };
  for (const [kind, [status, code]] of Object.entries(table) as [FailureKind, [number, string]][]) {
    const answer = told(new Failure(kind, `it is ${kind}`));
    assert.deepEqual([answer.status, answer.code, answer.message], [status, code, `it is ${kind}`]);
    assert.equal(answer.exchange.error?.message, `it is ${kind}`);
  }
});

test("the place of failure knows the code and the detail best", () => {
  const answer = told(new Failure("invalid", "bad", { code: "DIGEST_INVALID", detail: { digest: "x" } }));
  assert.deepEqual([answer.code, answer.detail], ["DIGEST_INVALID", { digest: "x" }]);
});

test("a wait that ran out is a 504", () => {
  assert.equal(told(new Failure("unreachable", "slow", { timedOut: true })).status, 504);
});

test("what is not offered says what is", () => {
  assert.equal(told(new Failure("unsupported", "no pushes")).headers["Allow"], "GET, HEAD");
  assert.equal("Allow" in told(new Failure("unknown", "no")).headers, false);
});

test("when trying again may help is told in whole seconds, rounded up, and never as zero", () => {
  for (const [retryAfterMs, seconds] of [
    [0, 1],
    [1, 1],
    [1000, 1],
    [1001, 2],
    [3_600_000, 3600],
  ] as const) {
    assert.equal(told(new Failure("limited", "later", { retryAfterMs })).headers["Retry-After"], seconds);
  }
});

test("overload and used-up limits always say when to come back", () => {
  for (const kind of ["overloaded", "limited"] as const) {
    assert.ok(Number(told(new Failure(kind, "later")).headers["Retry-After"]) >= 1, kind);
  }
});

test("a bug is a 500 that tells nothing of it", () => {
  for (const bug of [new TypeError("secret internals"), "secret internals", undefined]) {
    const answer = told(bug);
    assert.deepEqual([answer.status, answer.code], [500, "UNKNOWN"]);
    assert.ok(!answer.text.includes("secret"));
    assert.ok(answer.exchange.error instanceof Error);
  }
});

test("an answer that has begun is broken off, not ended", () => {
  const { exchange, response, answered } = fakeExchange();
  exchange.head(200, { "Content-Length": 10 });
  exchange.write(Buffer.from("half"));
  replyFailure(exchange, new Failure("corrupt", "wrong bytes"));
  assert.equal(response.statusCode, 200);
  assert.equal(response.body.toString(), "half");
  assert.equal(response.destroyed, true);
  assert.equal(response.writableFinished, false);
  assert.equal(answered[0]?.error?.message, "wrong bytes");
});

test("an answer of which nothing has left yet can still become an error", () => {
  const { exchange, response } = fakeExchange();
  exchange.head(200, { "Content-Length": 10 });
  replyFailure(exchange, new Failure("unreachable", "down"));
  assert.equal(response.statusCode, 502);
});

test("every answer says who it comes from and which request it answers", () => {
  const { exchange } = fakeExchange();
  const headers = commonHeaders(exchange, { cache: "joined" });
  assert.deepEqual(headers, {
    "Docker-Distribution-Api-Version": "registry/2.0",
    "X-Content-Type-Options": "nosniff",
    Via: "1.1 wharfinger",
    "X-Request-Id": "request-1",
    "Cache-Status": "wharfinger; fwd=miss; collapsed",
  });
  assert.equal(exchange.cache, "joined");
});

test("a warning is one quoted string of visible characters and bounded length", () => {
  const warningOf = (warning: string) => String(agingHeaders({}, { warning })["Warning"]);
  assert.equal(warningOf("plain"), '299 - "plain"');
  assert.equal(warningOf('a "quoted\\ text'), `299 - "a 'quoted' text"`);
  assert.equal(warningOf("line\r\nSet-Cookie: x"), '299 - "line??Set-Cookie: x"');
  assert.equal(warningOf("ä€"), '299 - "??"');
  assert.ok(warningOf("x".repeat(10_000)).length < 400);
});

test("an age is whole seconds", () => {
  assert.equal(agingHeaders({}, { ageMs: 1999 })["Age"], 1);
  assert.equal(agingHeaders({}, { ageMs: 0 })["Age"], 0);
  assert.equal("Age" in agingHeaders({}, {}), false);
});
