/**
 * Proxies of the environment: which URL goes by which, and what is no proxy.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { isFailure } from "../../../src/base/failure.ts";
import { parseNoProxy } from "../../../src/upstream/network/noproxy.ts";
import { Proxies } from "../../../src/upstream/network/proxies.ts";

const via = (env: Record<string, string>, url: string) => new Proxies(env).find(new URL(url));

test("each scheme has its own variable, lower case before upper, and what is empty says nothing", () => {
  assert.equal(via({ HTTPS_PROXY: "http://p:3128" }, "https://reg.example/")?.host, "p:3128");
  assert.equal(via({ HTTPS_PROXY: "http://p:3128" }, "http://reg.example/"), undefined);
  assert.equal(via({ HTTP_PROXY: "http://p:3128" }, "https://reg.example/"), undefined);
  const both = { https_proxy: "http://low:1", HTTPS_PROXY: "http://up:2" };
  assert.deepEqual([via(both, "https://x/")?.host, via(both, "https://x/")?.variable], ["low:1", "https_proxy"]);
  assert.equal(via({ https_proxy: " ", HTTPS_PROXY: "http://up:2" }, "https://x/")?.host, "up:2");
  assert.equal(via({}, "https://x/"), undefined);
});

test("HTTP_PROXY is a client's word under CGI, http_proxy never", () => {
  const cgi = { REQUEST_METHOD: "GET", HTTP_PROXY: "http://evil:1" };
  assert.equal(via(cgi, "http://x/"), undefined);
  assert.equal(via({ ...cgi, http_proxy: "http://p:1" }, "http://x/")?.host, "p:1");
});

test("a proxy may be named without scheme, by address and over TLS; its port is the scheme's", () => {
  assert.equal(via({ HTTP_PROXY: "proxy.corp:3128" }, "http://x/")?.host, "proxy.corp:3128");
  assert.equal(via({ HTTP_PROXY: "http://proxy.corp" }, "http://x/")?.port, 80);
  const secure = via({ HTTP_PROXY: "https://[::1]" }, "http://x/");
  assert.deepEqual([secure?.secure, secure?.hostname, secure?.host], [true, "::1", "[::1]:443"]);
});

test("user and password are percent-decoded", () => {
  const proof = via({ HTTP_PROXY: "http://corp%5Cme:p%40ss%3A1@p:1" }, "http://x/")?.authorization;
  assert.equal(proof, `Basic ${Buffer.from("corp\\me:p@ss:1").toString("base64")}`);
});

test("what names no proxy is refused by its variable, and no word of it is told", () => {
  for (const bad of ["socks5://u:topsecret@p:1", "http://", "http://u:topsecret%zz@p:1", "http://p:topsecret", "::"]) {
    assert.throws(
      () => new Proxies({ HTTPS_PROXY: bad }),
      (error) =>
        isFailure(error, "invalid") &&
        error.message.startsWith("HTTPS_PROXY: ") &&
        !`${error.message}${String(error.cause)}`.includes("topsecret"),
      bad,
    );
  }
});

test("NO_PROXY names hosts, what is below them, ports, addresses and ranges", () => {
  const direct = (list: string, host: string, port = 443) => parseNoProxy(list)(host, port);
  for (const list of ["corp.example", ".corp.example", "*.corp.example", "CORP.example.", "a,  corp.example ,b"]) {
    assert.ok(direct(list, "corp.example"), list);
    assert.ok(direct(list, "reg.corp.EXAMPLE."), list);
    assert.ok(!direct(list, "evilcorp.example"), list);
    assert.ok(!direct(list, "corp.example.evil"), list);
  }
  assert.ok(direct("*", "anything"));
  assert.ok(direct("reg.example:5000", "reg.example", 5000));
  assert.ok(!direct("reg.example:5000", "reg.example", 443));
  assert.ok(direct("10.1.2.3", "10.1.2.3"));
  assert.ok(!direct("10.1.2.3", "10.1.2.30"));
  assert.ok(direct("10.1.2.3:5000", "10.1.2.3", 5000));
  assert.ok(!direct("10.1.2.3:5000", "10.1.2.3", 443));
  assert.ok(direct("10.0.0.0/8", "10.200.0.1"));
  assert.ok(!direct("10.0.0.0/8", "11.0.0.1"));
  assert.ok(!direct("10.0.0.0/8", "10.example"));
  assert.ok(direct("fd00::/8", "fd12::1"));
  assert.ok(!direct("fd00::/8", "10.0.0.1"));
  for (const list of ["2001:db8::1", "[2001:db8::1]", "[2001:DB8:0::1]:443"])
    assert.ok(direct(list, "2001:db8::1"), list);
  assert.ok(!direct("", "reg.example"));
  assert.ok(!direct("example", "10.0.0.1"));
  assert.ok(!direct(". , *. ,/8,10.0.0.0/99,:,[", "reg.example"));
});

test("this machine itself is asked directly", () => {
  for (const host of ["localhost", "reg.localhost.", "127.0.0.1", "127.9.9.9", "::1"]) {
    assert.ok(parseNoProxy("")(host, 80), host);
  }
  assert.equal(via({ HTTP_PROXY: "http://p:1" }, "http://[::1]:5000/"), undefined);
});

test("no list makes it throw", () => {
  fc.assert(
    fc.property(fc.string(), fc.oneof(fc.domain(), fc.ipV4(), fc.ipV6()), (list, host) => {
      parseNoProxy(list)(host, 443);
    }),
  );
});
