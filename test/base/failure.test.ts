/** What a failure carries, and how anything thrown is read. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { errnoOf, Failure, isFailure, messageOf } from "../../src/base/failure.ts";

test("a failure carries its kind and what is known about it", () => {
  const cause = new Error("below");
  const failure = new Failure("limited", "too many", {
    code: "TOOMANYREQUESTS",
    detail: { limit: 100 },
    cause,
    retryAfterMs: 1500,
    upstreamStatus: 429,
  });
  assert.ok(failure instanceof Error);
  assert.equal(failure.name, "Failure");
  assert.equal(failure.kind, "limited");
  assert.equal(failure.message, "too many");
  assert.equal(failure.code, "TOOMANYREQUESTS");
  assert.deepEqual(failure.detail, { limit: 100 });
  assert.equal(failure.cause, cause);
  assert.equal(failure.retryAfterMs, 1500);
  assert.equal(failure.upstreamStatus, 429);
  assert.equal(failure.timedOut, false);
});

test("a failure with nothing to add has no cause and did not time out", () => {
  const failure = new Failure("unknown", "no such thing");
  assert.equal("cause" in failure, false);
  assert.equal(failure.timedOut, false);
  assert.equal(failure.code, undefined);
  assert.equal(failure.retryAfterMs, undefined);
});

test("a failure is told by its kind, a bug is none", () => {
  const failure = new Failure("storage", "disk full");
  assert.equal(isFailure(failure), true);
  assert.equal(isFailure(failure, "storage", "corrupt"), true);
  assert.equal(isFailure(failure, "corrupt"), false);
  for (const other of [new Error("x"), new TypeError("x"), "storage", undefined, null, { kind: "storage" }]) {
    assert.equal(isFailure(other), false);
  }
});

test("anything that was thrown has a text", () => {
  assert.equal(messageOf(new Error("text")), "text");
  assert.equal(messageOf("bare"), "bare");
  assert.equal(messageOf(undefined), "undefined");
  assert.equal(messageOf(42), "42");
});

test("a system error tells its code, and nothing else has one", () => {
  assert.equal(errnoOf(Object.assign(new Error("x"), { code: "ENOENT" })), "ENOENT");
  assert.equal(errnoOf(Object.assign(new Error("x"), { code: 2 })), undefined);
  for (const other of [new Error("x"), "ENOENT", null, undefined, 7]) assert.equal(errnoOf(other), undefined);
});
