/** What wrk, h2load and an origin's access log say. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { parseH2load } from "../../bench/h2load.ts";
import { countRequests } from "../../bench/origin.ts";
import { parseWrk } from "../../bench/wrk.ts";

const H2LOAD = `starting benchmark...
spawning thread #0: 4 total client(s). 8 total requests
TLS Protocol: TLSv1.3
Cipher: TLS_AES_128_GCM_SHA256
Server Temp Key: X25519 253 bits
Application protocol: h2
progress: 100% done

finished in 59.02ms, 135.54 req/s, 1.06GB/s
requests: 8 total, 8 started, 8 done, 6 succeeded, 1 failed, 1 errored, 0 timeout
status codes: 7 2xx, 0 3xx, 1 4xx, 0 5xx
traffic: 64.07MB (67183764) total, 904B (904) headers (space savings 38.92%), 64.00MB (67108864) data
                     min         max         mean         sd        +/- sd
time for request:     7.65ms     28.17ms     22.85ms      7.79ms    75.00%
`;

test("h2load's summary is read: time in its unit, results, bytes of bodies, what was agreed on", () => {
  assert.deepEqual(parseH2load(H2LOAD), {
    seconds: 0.05902,
    succeeded: 6,
    failed: 2,
    bodyBytes: 67108864,
    cipher: "TLS_AES_128_GCM_SHA256",
    protocol: "h2",
  });
  assert.equal(parseH2load(H2LOAD.replace("59.02ms", "2.50s")).seconds, 2.5);
  assert.equal(parseH2load(H2LOAD.replace("59.02ms", "1.5m")).seconds, 90);
});

test("what is not h2load's summary is an error that shows it", () => {
  assert.throws(() => parseH2load("could not connect"), /something else: could not connect/);
});

const WRK = `Running 2s test @ http://127.0.0.1:1/
  1 threads and 16 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency   389.36us  100.00us   5.00ms   90.00%
  Latency Distribution
     50%  380.00us
     99%    1.02ms
  80000 requests in 2.00s, 120.00MB read
Requests/sec:  40000.25
Transfer/sec:     60.00MB
`;

test("wrk's rate and tail are read, the tail in milliseconds", () => {
  assert.deepEqual(parseWrk(WRK), { requestsPerSecond: 40000.25, p99Ms: 1.02, failures: 0 });
  assert.equal(parseWrk(WRK.replace("1.02ms", "970.00us")).p99Ms, 0.97);
  assert.equal(parseWrk(WRK.replace("1.02ms", "1.50s")).p99Ms, 1500);
});

test("answers that are errors and sockets that fail are wrk's failures", () => {
  const broken = WRK.replace(
    "Requests/sec",
    "  Socket errors: connect 1, read 2, write 3, timeout 4\n  Non-2xx or 3xx responses: 10\nRequests/sec",
  );
  assert.equal(parseWrk(broken).failures, 20);
});

test("what is not wrk's summary is an error, not a rate of zero", () => {
  assert.throws(() => parseWrk("unable to connect"), /something else/);
});

test("an access log is counted: requests, GETs of blobs, bytes of bodies, none of a HEAD, no mark", () => {
  const line = (request: string, status: number, size: string) =>
    `127.0.0.1 - - [21/Nov/2026:10:00:00 +0000] "${request} HTTP/1.1" ${status} ${size} "" "agent"`;
  const log = [
    line("GET /v2/a/blobs/sha256:1", 200, "1000"),
    line("GET /v2/a/blobs/sha256:1", 206, "24"),
    line("HEAD /v2/a/blobs/sha256:1", 200, "5000"),
    line("GET /v2/a/manifests/latest", 304, "-"),
    line("GET /v2/?bench-mark=3", 200, "2"),
    "a line of another kind",
  ].join("\n");
  assert.deepEqual(countRequests(log), { blobGets: 2, all: 4, bytes: 1024 });
});
