/**
 * An upstream that fails, for clients of what is stored and of what is not: it is not asked by each of them, and it is
 * asked again when it may be well.
 */
import assert from "node:assert/strict";
import { ManualClock } from "../kit/clock.ts";
import { get } from "../kit/http.ts";
import { makeImage } from "../kit/image.ts";
import { TestMirror } from "../kit/mirror.ts";
import { openResources, residueSince } from "../kit/residue.ts";
import { TestUpstream } from "../kit/upstream.ts";
import { testInOneProcess } from "../kit/workers.ts";

const test = testInOneProcess("needs this process's clock");

const TAGS = 200;
const HOUR = 3_600_000;
const image = makeImage({ layers: [1000] });
const other = makeImage({ seed: 2, layers: [1000] });

interface Stage {
  readonly upstream: TestUpstream;
  readonly mirror: TestMirror;
  readonly clock: ManualClock;
  readonly urls: readonly string[];
}

/** A mirror that holds many tags, all of them too old to be served without asking. */
async function aged(run: (stage: Stage) => Promise<void>): Promise<void> {
  const clock = new ManualClock();
  await using upstream = await TestUpstream.start();
  for (let at = 0; at < TAGS; at++) upstream.shelves.add("library/demo", image, `v${at}`);
  await using mirror = await TestMirror.start({ upstreams: { "docker.io": upstream }, clock });
  const urls = Array.from({ length: TAGS }, (_, at) => `${mirror.url}/v2/library/demo/manifests/v${at}`);
  for (const url of urls) assert.equal((await get(url)).status, 200);
  await clock.advance(2 * HOUR);
  upstream.forgetRequests();
  await run({ upstream, mirror, clock, urls });
}

async function allStale(urls: readonly string[]): Promise<void> {
  const answers = await Promise.all(urls.map((url) => get(url)));
  for (const answer of answers) {
    assert.equal(answer.status, 200);
    assert.deepEqual(answer.body, image.manifest);
    assert.match(String(answer.headers["cache-status"]), /detail=stale/);
    assert.match(String(answer.headers.warning), /^299 - "/);
  }
}

for (const [how, fault] of [
  ["closes connections", { dropConnection: true }],
  ["answers 503", { status: 503 }],
  ["answers 503 and says when to come again", { status: 503, retryAfter: "30" }],
  ["answers 429", { status: 429 }],
  ["answers 429 and says when to come again", { status: 429, retryAfter: "3600" }],
  ["answers 429 and names the date", { status: 429, retryAfter: "Thu, 01 Jan 2026 05:00:00 GMT" }],
] as const) {
  test(`an upstream that ${how} is asked by a few, and all are served what is stored`, async () => {
    await aged(async ({ upstream, clock, urls }) => {
      upstream.fault({}, fault);
      await clock.during(allStale(urls.slice(0, 1)));
      for (let at = 1; at < TAGS; at += 10) await allStale(urls.slice(at, at + 10));
      assert.ok(upstream.requests.length < 40, `${upstream.requests.length} requests for ${TAGS} tags`);
    });
  });
}

test("an upstream that accepts connections and says nothing keeps the first waiting for 2 s, and nobody after", async () => {
  await aged(async ({ upstream, mirror, clock, urls }) => {
    const before = openResources();
    upstream.fault({}, { stallAfterBytes: 0, delayHeadersMs: 100_000 });
    const [first = ""] = urls;
    let served = false;
    const waiting = allStale([first]).then(() => {
      served = true;
    });
    await upstream.waitFor({ kind: "manifest" });
    await clock.advance(1900);
    assert.equal(served, false, "it could still answer");
    await clock.advance(100);
    await waiting;
    // With the clock standing still, whoever waited would wait for ever.
    await allStale(urls);
    assert.ok(upstream.requests.length < 5, `${upstream.requests.length} requests for ${TAGS} tags`);
    await mirror.mirror.stop();
    assert.deepEqual(await residueSince(before), []);
  });
});

test("nobody who has nothing stored waits for an upstream that does not answer anyone", async () => {
  await aged(async ({ upstream, clock, mirror, urls }) => {
    upstream.fault({}, { dropConnection: true });
    await clock.during(allStale(urls.slice(0, 5)));
    const asked = upstream.requests.length;
    const unknown = Array.from({ length: 20 }, (_, at) => `${mirror.url}/v2/library/demo/manifests/unknown${at}`);
    for (const answer of await clock.during(Promise.all(unknown.map((url) => get(url))))) {
      assert.equal(answer.status, 502);
      assert.match(String(answer.headers["retry-after"]), /^\d+$/);
    }
    assert.ok(upstream.requests.length - asked < 20, `${upstream.requests.length - asked} requests of 20`);
  });
});

test("an upstream that answers again is noticed, and serves what is new", async () => {
  await aged(async ({ upstream, clock, urls, mirror }) => {
    const heal = upstream.fault({}, { dropConnection: true });
    await clock.during(allStale(urls.slice(0, 5)));
    heal();
    for (let at = 0; at < TAGS; at++) upstream.shelves.add("library/demo", other, `v${at}`);
    await clock.advance(60_000);
    const [, , url = ""] = urls;
    await mirror.until(async () => {
      await clock.advance(1000);
      return (await get(url)).body.equals(other.manifest);
    }, "the new manifest is never served");
    const metrics = (await get(`${mirror.adminUrl}/metrics`)).body.toString();
    assert.match(metrics, /wharfinger_upstream_circuit_state\{upstream="docker.io"\} 0/);
  });
});
