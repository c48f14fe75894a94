/** Log lines for people: one line each, with what matters first. */
import assert from "node:assert/strict";
import test from "node:test";
import { readable } from "../../src/observe/readable.ts";

test("a request is one line: status, method, what, how the cache took part, bytes, time, client", () => {
  const line = {
    msg: "answered",
    level: "info",
    method: "GET",
    status: 200,
    upstream: "docker.io",
    repository: "library/demo",
    reference: "1",
    kind: "manifest",
    cache: "miss",
    bytes: 746,
    totalMs: 3.5,
    userAgent: "curl/7",
  };
  assert.equal(readable(line), "200 GET manifest docker.io/library/demo:1 miss 746B 3.5ms curl/7");
  const failed = { ...line, status: 502, reference: "sha256:00", err: { kind: "unreachable", message: "no route\n" } };
  assert.match(readable(failed), /^502 GET manifest docker\.io\/library\/demo@sha256:00 .* - no route$/);
});

test("anything else is its message and its fields, and a bug keeps its stack", () => {
  assert.equal(
    readable({ msg: "upstream trouble", upstream: "ghcr.io", level: "warn" }),
    "upstream trouble upstream=ghcr.io",
  );
  assert.match(readable({ msg: "failed", err: { message: "x", stack: "Error: x\n at y" } }), /at y$/);
});
