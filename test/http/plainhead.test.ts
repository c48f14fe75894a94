/** Heads in their plainest form are understood; whatever could mean more is left to an HTTP parser. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { parsePlainHead } from "../../src/http/plainhead.ts";

const head = (...lines: string[]) => `${lines.join("\r\n")}\r\n\r\n`;
const GET = "GET /v2/alpine/manifests/latest HTTP/1.1";

test("a plain request is understood", () => {
  const found = parsePlainHead(
    head(
      "HEAD /v2/a/manifests/1?ns=ghcr.io HTTP/1.1",
      "Host: mirror:5000",
      "User-Agent: containerd/2.1 (x; y)",
      "Accept: a/b, c/d",
      "accept: */*",
      "Accept-Encoding:gzip",
      "Connection: Keep-Alive ",
    ),
  );
  assert.deepEqual(found, {
    method: "HEAD",
    target: "/v2/a/manifests/1?ns=ghcr.io",
    host: "mirror:5000",
    userAgent: "containerd/2.1 (x; y)",
  });
});

const refused: Readonly<Record<string, string>> = {
  "no Host": head(GET, "Accept: */*"),
  "two Hosts": head(GET, "Host: a", "Host: b"),
  "two user agents": head(GET, "Host: a", "User-Agent: b", "User-Agent: c"),
  "an empty Host": head(GET, "Host:"),
  "HTTP/1.0": head("GET /v2/ HTTP/1.0", "Host: a"),
  "another method": head("POST /v2/ HTTP/1.1", "Host: a"),
  "a method in lower case": head("get /v2/ HTTP/1.1", "Host: a"),
  "absolute form": head("GET http://a/v2/ HTTP/1.1", "Host: a"),
  "a space in the target": head("GET /v2/ x HTTP/1.1", "Host: a"),
  "a body by length": head(GET, "Host: a", "Content-Length: 5"),
  "a body of chunks": head(GET, "Host: a", "Transfer-Encoding: chunked"),
  "an upgrade": head(GET, "Host: a", "Connection: upgrade", "Upgrade: h2c"),
  "a connection that ends": head(GET, "Host: a", "Connection: close"),
  "a condition": head(GET, "Host: a", 'If-None-Match: "x"'),
  "a request id": head(GET, "Host: a", "X-Request-Id: 12345678"),
  "a Via": head(GET, "Host: a", "Via: 1.1 other"),
  "a folded field": head(GET, "Host: a", "Accept: a", " b"),
  "a space before the colon": head(GET, "Host : a"),
  "no colon": head(GET, "Host: a", "Accept"),
  "a control character": head(GET, "Host: a", "Accept: a\u0000b"),
  "a bare line feed": head(GET, "Host: a\nX: b"),
  "a bare carriage return": head(GET, "Host: a\rX: b"),
  "bytes above ASCII": head(GET, "Host: a", "Accept: \u00e9"),
  "half a head": `${GET}\r\nHost: a\r\n`,
  "two requests": head(GET, "Host: a") + head(GET, "Host: a"),
  "a head and more": `${head(GET, "Host: a")}x`,
  nothing: "",
};

for (const [what, text] of Object.entries(refused)) {
  test(`${what} is not for here`, () => assert.equal(parsePlainHead(text), undefined));
}

test("a change of any byte gives another plain request or none, and never one with two lines in a value", () => {
  const plain = head(GET, "Host: mirror", "User-Agent: docker/28", "Accept: */*");
  fc.assert(
    fc.property(fc.nat(plain.length - 1), fc.integer({ min: 0, max: 255 }), (at, code) => {
      const found = parsePlainHead(plain.slice(0, at) + String.fromCharCode(code) + plain.slice(at + 1));
      if (found === undefined) return;
      for (const value of Object.values(found)) assert.doesNotMatch(String(value), /[^ -~\t]/);
    }),
    { numRuns: 5000 },
  );
});
