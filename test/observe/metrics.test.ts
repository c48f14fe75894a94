/** The metrics: facts become the documented series, with bounded labels. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Notices } from "../../src/base/notices.ts";
import type { MirrorNotices } from "../../src/mirror/notices.ts";
import { createMetrics } from "../../src/observe/metrics.ts";
import { answeredFact } from "./facts.ts";

function observed() {
  const notices = new Notices<MirrorNotices>();
  const gauges = { cacheSizeBytes: () => 10, cacheMaxBytes: () => 100, cacheBlobs: () => 3, cacheFreeBytes: () => 50 };
  const metrics = createMetrics({ notices, gauges });
  const lines = async () => (await metrics.text()).split("\n");
  return { notices, metrics, lines };
}

test("answers are counted by upstream, kind, method, status and cache, at every scrape the same", async () => {
  const { notices, lines } = observed();
  for (let at = 0; at < 3; at++) notices.emit("answered", answeredFact());
  notices.emit("answered", answeredFact({ method: "HEAD", bytes: 0, firstByteMs: undefined }));
  for (let scrape = 0; scrape < 2; scrape++) {
    const text = await lines();
    for (const line of [
      'wharfinger_requests_total{upstream="docker.io",kind="manifest",method="GET",status="200",cache="hit"} 3',
      'wharfinger_requests_total{upstream="docker.io",kind="manifest",method="HEAD",status="200",cache="hit"} 1',
      'wharfinger_response_bytes_total{upstream="docker.io",kind="manifest",cache="hit"} 3702',
      'wharfinger_request_duration_seconds_count{kind="manifest",cache="hit"} 4',
      'wharfinger_first_byte_seconds_count{kind="manifest",cache="hit"} 3',
    ]) {
      assert.ok(text.includes(line), `${line}\n${text.filter((l) => l.startsWith("wharfinger_re")).join("\n")}`);
    }
  }
});

test("a client that left was not served: it is counted apart, and its time not at all", async () => {
  const { notices, lines } = observed();
  notices.emit("answered", answeredFact());
  notices.emit("answered", answeredFact({ aborted: true, bytes: 10 }));
  const text = await lines();
  for (const line of [
    'wharfinger_requests_total{upstream="docker.io",kind="manifest",method="GET",status="200",cache="hit"} 1',
    'wharfinger_requests_total{upstream="docker.io",kind="manifest",method="GET",status="499",cache="hit"} 1',
    'wharfinger_response_bytes_total{upstream="docker.io",kind="manifest",cache="hit"} 1244',
    'wharfinger_request_duration_seconds_count{kind="manifest",cache="hit"} 1',
  ]) {
    assert.ok(text.includes(line), line);
  }
});

test("what a client can invent is no label value", async () => {
  const { notices, lines } = observed();
  for (const method of ["BREW", "PROPFIND"]) {
    notices.emit("answered", answeredFact({ method, upstream: undefined, status: 999, kind: "other", cache: "none" }));
  }
  const line = 'wharfinger_requests_total{upstream="",kind="other",method="other",status="0",cache="none"} 2';
  assert.ok((await lines()).includes(line));
});

test("upstream facts become their series", async () => {
  const { notices, lines } = observed();
  const upstream = "docker.io";
  notices.emit("upstreamRequest", { upstream, kind: "blob", method: "GET", status: 200, durationMs: 20 });
  notices.emit("upstreamBytes", { upstream, bytes: 500 });
  notices.emit("upstreamLimited", { upstream, retryAfterMs: 1000 });
  notices.emit("rateLimit", { upstream, account: "anonymous", limit: 100, remaining: 42 });
  notices.emit("rateLimit", { upstream, account: "anonymous", limit: undefined, remaining: 41 });
  notices.emit("fillStarted", { upstream, digest: "a" });
  notices.emit("fillStarted", { upstream, digest: "b" });
  notices.emit("fillResumed", { upstream, digest: "a", atByte: 1, reason: "read ECONNRESET" });
  notices.emit("fillEnded", { upstream, digest: "a", bytes: 1, durationMs: 1, failure: undefined });
  notices.emit("followerOpened", undefined);
  notices.emit("digestMismatch", { upstream, expected: "a", found: "b" });
  notices.emit("staleServed", { upstream, reason: "offline" });
  const text = await lines();
  for (const line of [
    'wharfinger_upstream_requests_total{upstream="docker.io",kind="blob",method="GET",status="200"} 1',
    'wharfinger_upstream_bytes_total{upstream="docker.io"} 500',
    'wharfinger_upstream_duration_seconds_bucket{le="0.025",upstream="docker.io",kind="blob"} 1',
    'wharfinger_upstream_retries_total{upstream="docker.io",reason="reset"} 1',
    'wharfinger_ratelimit_limit{upstream="docker.io",account="anonymous"} 100',
    'wharfinger_ratelimit_remaining{upstream="docker.io",account="anonymous"} 41',
    'wharfinger_ratelimit_rejections_total{upstream="docker.io"} 1',
    "wharfinger_fills_active 1",
    "wharfinger_followers_active 1",
    'wharfinger_fill_resumes_total{upstream="docker.io"} 1',
    'wharfinger_digest_mismatches_total{upstream="docker.io"} 1',
    'wharfinger_stale_served_total{upstream="docker.io",reason="offline"} 1',
    "wharfinger_cache_size_bytes 10",
    "wharfinger_cache_max_bytes 100",
    "wharfinger_cache_blobs 3",
  ]) {
    assert.ok(text.includes(line), line);
  }
});

test("the process's defaults and the event loop's lag are there, in the text format", async () => {
  const { metrics } = observed();
  assert.match(metrics.contentType, /^text\/plain/);
  const text = await metrics.text();
  assert.match(text, /^process_resident_memory_bytes /m);
  assert.match(text, /^nodejs_eventloop_lag_p99_seconds /m);
});

test("two sets of metrics do not know each other", async () => {
  const [one, other] = [observed(), observed()];
  one.notices.emit("answered", answeredFact());
  assert.doesNotMatch((await other.lines()).join("\n"), /wharfinger_requests_total\{/);
});

test("a number of bytes in a reason is no status", async () => {
  const { notices, lines } = observed();
  const upstream = "docker.io";
  const resumed = (reason: string) => notices.emit("fillResumed", { upstream, digest: "a", atByte: 1, reason });
  resumed("the body ended early at 429 of 512 bytes");
  resumed("docker.io answered 503");
  resumed("docker.io limits our requests");
  const text = await lines();
  for (const reason of ["short", "status", "limited"]) {
    const line = `wharfinger_upstream_retries_total{upstream="docker.io",reason="${reason}"} 1`;
    assert.ok(text.includes(line), line);
  }
});

test("every upstream has its series from the start, and an endpoint that is lost is seen while another answers", async () => {
  const notices = new Notices<MirrorNotices>();
  const metrics = createMetrics({ notices, gauges: undefined, upstreams: new Map([["docker.io", 2]]) });
  const text = () => metrics.text();
  assert.match(await text(), /^wharfinger_upstream_circuit_state\{upstream="docker\.io"\} 0$/m);
  assert.match(await text(), /^wharfinger_upstream_endpoints_up\{upstream="docker\.io"\} 2$/m);
  const fact = { upstream: "docker.io", endpoint: "https://one.test", best: "closed" } as const;
  notices.emit("upstreamCircuit", { ...fact, state: "open" });
  assert.match(await text(), /^wharfinger_upstream_endpoints_up\{upstream="docker\.io"\} 1$/m);
  notices.emit("upstreamCircuit", { ...fact, state: "closed" });
  assert.match(await text(), /^wharfinger_upstream_endpoints_up\{upstream="docker\.io"\} 2$/m);
});

test("refusals of accounts, questions not asked for a used-up limit, and refused connections have series", async () => {
  const { notices, lines } = observed();
  const upstream = "docker.io";
  notices.emit("accountJudged", { upstream, account: "robot", verdict: "refused" });
  notices.emit("accountJudged", { upstream, account: "robot", verdict: "accepted" });
  notices.emit("upstreamWithheld", { upstream });
  notices.emit("upstreamRetried", { upstream, reason: "docker.io: 127.0.0.1:1 refuses connections; check it" });
  const text = await lines();
  for (const line of [
    'wharfinger_upstream_refusals_total{upstream="docker.io",account="robot"} 1',
    'wharfinger_ratelimit_withheld_total{upstream="docker.io"} 1',
    'wharfinger_upstream_retries_total{upstream="docker.io",reason="refused"} 1',
  ]) {
    assert.ok(text.includes(line), line);
  }
});
