/** The access log's line is JSON, whatever is in it. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { AccessLines } from "../../src/observe/accessline.ts";
import { answeredFact } from "./facts.ts";

const lines = new AccessLines(() => ',"time":"2026-01-02T03:04:05.678Z"');

test("whatever text a client sends, the line is one line of JSON that says it", () => {
  fc.assert(
    fc.property(fc.string({ unit: "binary" }), fc.string({ unit: "binary" }), (method, remoteAddress) => {
      const line = lines.make("info", answeredFact({ method, remoteAddress }));
      assert.equal(line.indexOf("\n"), line.length - 1);
      const said: unknown = JSON.parse(line);
      assert.ok(typeof said === "object" && said !== null && "method" in said && "remoteAddress" in said);
      assert.equal(said.method, method);
      assert.equal(said.remoteAddress, remoteAddress);
    }),
  );
});

test("what is not known is not written", () => {
  const none = { upstream: undefined, repository: undefined, reference: undefined, userAgent: undefined };
  const said = JSON.parse(lines.make("info", answeredFact({ ...none, firstByteMs: undefined }))) as object;
  assert.deepEqual(Object.keys(said), [
    "level",
    "time",
    "method",
    "kind",
    "status",
    "bytes",
    "totalMs",
    "cache",
    "requestId",
    "remoteAddress",
    "msg",
  ]);
});
