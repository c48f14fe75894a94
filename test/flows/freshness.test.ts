/**
 * Tags as they age, by a clock of the test's own: used, refreshed behind, revalidated, stale while the upstream fails.
 */
import assert from "node:assert/strict";
import { ManualClock } from "../kit/clock.ts";
import { get } from "../kit/http.ts";
import { makeImage } from "../kit/image.ts";
import { TestMirror } from "../kit/mirror.ts";
import { TestUpstream } from "../kit/upstream.ts";
import { testInOneProcess } from "../kit/workers.ts";

const test = testInOneProcess("needs this process's clock");

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;
const old = makeImage({ seed: 1 });
const fresh = makeImage({ seed: 2 });

interface Stage {
  readonly upstream: TestUpstream;
  readonly mirror: TestMirror;
  readonly clock: ManualClock;
  readonly tag: string;
}

async function staged(run: (stage: Stage) => Promise<void>): Promise<void> {
  const clock = new ManualClock();
  await using upstream = await TestUpstream.start();
  upstream.shelves.add("library/demo", old, "1");
  await using mirror = await TestMirror.start({ upstreams: { "docker.io": upstream }, clock });
  const tag = `${mirror.url}/v2/library/demo/manifests/1`;
  assert.equal((await get(tag)).headers["cache-status"], "wharfinger; fwd=miss; fwd-status=200; stored");
  upstream.forgetRequests();
  await run({ upstream, mirror, clock, tag });
}

test("a young tag is served without asking, with what is left of its time", async () => {
  await staged(async ({ upstream, clock, tag }) => {
    await clock.advance(4 * MINUTE);
    const answer = await get(tag);
    assert.equal(answer.headers["cache-status"], "wharfinger; hit; ttl=60");
    assert.equal(answer.headers.age, "240");
    assert.equal(upstream.requests.length, 0);
  });
});

test("an older tag is served at once and refreshed behind, by HEAD alone where nothing changed", async () => {
  await staged(async ({ upstream, clock, tag }) => {
    await clock.advance(30 * MINUTE);
    const answer = await get(tag);
    assert.equal(answer.headers["cache-status"], "wharfinger; hit; ttl=-1500; detail=stale");
    assert.match(String(answer.headers.warning), /^299 - "/);
    await upstream.waitFor({ kind: "manifest", method: "HEAD" });
    await untilFresh(tag);
    assert.equal(upstream.count({ method: "GET" }), 0);
  });
});

test("a tag that moved is fetched behind, and the next client gets the new one", async () => {
  await staged(async ({ upstream, clock, tag }) => {
    upstream.shelves.add("library/demo", fresh, "1");
    await clock.advance(30 * MINUTE);
    assert.deepEqual((await get(tag)).body, old.manifest);
    const answer = await untilFresh(tag);
    assert.deepEqual(answer.body, fresh.manifest);
    assert.equal(upstream.count({ method: "GET", kind: "manifest" }), 1);
  });
});

test("a tag past its time is confirmed by HEAD before it is served", async () => {
  await staged(async ({ upstream, clock, tag }) => {
    await clock.advance(2 * HOUR);
    const answer = await get(tag);
    assert.equal(answer.headers["cache-status"], "wharfinger; fwd=stale; fwd-status=200; detail=unchanged");
    assert.equal(answer.headers.age, "0");
    assert.equal(upstream.count({ method: "HEAD" }), 1);
    assert.equal(upstream.count({ method: "GET" }), 0);
    assert.match(String((await get(tag)).headers["cache-status"]), /^wharfinger; hit; ttl=300$/);
  });
});

test("a tag that is new here is none that grew old, although its content is stored", async () => {
  await staged(async ({ upstream, mirror }) => {
    upstream.shelves.add("library/demo", old, "2");
    upstream.shelves.add("library/copy", old, "1");
    for (const what of ["demo/manifests/2", "copy/manifests/1"]) {
      const answer = await get(`${mirror.url}/v2/library/${what}`);
      assert.equal(answer.headers["cache-status"], "wharfinger; fwd=miss; fwd-status=200");
    }
    assert.equal(upstream.count({ method: "GET" }), 0);
  });
});

test("a tag past its time that moved is fetched before it is served", async () => {
  await staged(async ({ upstream, clock, tag }) => {
    upstream.shelves.add("library/demo", fresh, "1");
    await clock.advance(2 * HOUR);
    const answer = await get(tag);
    assert.deepEqual(answer.body, fresh.manifest);
    assert.equal(answer.headers["cache-status"], "wharfinger; fwd=stale; fwd-status=200; stored");
  });
});

test("a HEAD that finds the tag moved tells so, and leaves the pull to a GET", async () => {
  await staged(async ({ upstream, clock, tag }) => {
    upstream.shelves.add("library/demo", fresh, "1");
    await clock.advance(2 * HOUR);
    const head = await get(tag, { method: "HEAD" });
    assert.equal(head.headers["docker-content-digest"], fresh.digest);
    assert.equal(upstream.count({ method: "GET" }), 0);
    assert.deepEqual((await get(tag)).body, fresh.manifest);
    assert.equal(upstream.count({ method: "HEAD", kind: "manifest" }), 1);
  });
});

for (const status of [429, 503]) {
  test(`a storm of ${status} from upstream meets few requests, however many HEADs and GETs are served meanwhile`, async () => {
    await staged(async ({ upstream, mirror, clock, tag }) => {
      const list = `${mirror.url}/v2/library/demo/tags/list`;
      assert.equal((await get(list)).status, 200);
      upstream.fault({}, { status });
      await clock.advance(2 * HOUR);
      upstream.forgetRequests();
      for (let at = 0; at < 30; at++) {
        const storm = [get(tag, { method: "HEAD" }), get(tag), get(list)];
        for (const answer of await Promise.all(storm)) {
          assert.equal(answer.status, 200);
          assert.match(String(answer.headers["cache-status"]), /detail=stale$/);
        }
      }
      assert.ok(upstream.requests.length <= 8, `${upstream.requests.length} requests`);
    });
  });
}

for (const [what, fault, reason] of [
  ["answers 503", { status: 503 }, "unreachable"],
  ["is limited", { status: 429 }, "limited"],
  ["drops connections", { dropConnection: true }, "unreachable"],
] as const) {
  test(`a tag past its time is served stale, marked, while the upstream ${what}, up to staleIfError`, async () => {
    await staged(async ({ upstream, mirror, clock, tag }) => {
      upstream.fault({ kind: "manifest" }, fault);
      await clock.advance(29 * DAY);
      const answer = await get(tag);
      assert.equal(answer.status, 200);
      assert.deepEqual(answer.body, old.manifest);
      assert.match(String(answer.headers["cache-status"]), /^wharfinger; hit; ttl=-\d+; detail=stale$/);
      assert.match(String(answer.headers.warning), /^299 - ".+"$/);
      assert.equal(answer.headers.age, String((29 * DAY) / 1000));
      const metrics = (await get(`${mirror.adminUrl}/metrics`)).body.toString();
      assert.match(metrics, new RegExp(`wharfinger_stale_served_total\\{upstream="docker.io",reason="${reason}"\\} 1`));
      await clock.advance(2 * DAY);
      assert.notEqual((await clock.during(get(tag))).status, 200);
    });
  });
}

test("a client waits no longer than 2 s for an upstream that hangs, when something stored may be served", async () => {
  await staged(async ({ upstream, clock, tag }) => {
    const gate = upstream.gate({ kind: "manifest" }, "headers");
    await clock.advance(2 * HOUR);
    const answer = get(tag);
    await gate.reached;
    await clock.advance(2000);
    assert.match(String((await answer).headers["cache-status"]), /detail=stale$/);
    gate.release();
    // The question was not given up: its answer is used.
    const next = await untilFresh(tag);
    assert.equal(next.status, 200);
    assert.equal(upstream.count({ kind: "manifest", method: "HEAD" }), 1);
  });
});

test("a clock that was set back proves nothing: the tag is confirmed", async () => {
  await staged(async ({ upstream, clock, tag }) => {
    clock.jump(-DAY);
    const answer = await get(tag);
    assert.equal(answer.headers["cache-status"], "wharfinger; fwd=stale; fwd-status=200; detail=unchanged");
    assert.equal(upstream.count({ method: "HEAD" }), 1);
  });
});

test("what does not exist is remembered for notFound, and no longer", async () => {
  await staged(async ({ upstream, mirror, clock }) => {
    const missing = `${mirror.url}/v2/library/demo/manifests/none`;
    const first = await get(missing);
    assert.equal(first.status, 404);
    assert.equal(first.headers["cache-status"], "wharfinger; fwd=miss; fwd-status=404");
    await get(missing);
    assert.equal((await get(missing)).status, 404);
    assert.equal(upstream.count({ kind: "manifest" }), 1);
    upstream.shelves.add("library/demo", fresh, "none");
    await clock.advance(10_001);
    assert.equal((await get(missing)).status, 200);
  });
});

test("by digest nothing ages", async () => {
  await staged(async ({ upstream, mirror, clock }) => {
    await clock.advance(1000 * DAY);
    const answer = await get(`${mirror.url}/v2/library/demo/manifests/${old.digest}`);
    assert.equal(answer.headers["cache-status"], "wharfinger; hit");
    assert.match(String(answer.headers["cache-control"]), /immutable/);
    assert.equal(upstream.requests.length, 0);
  });
});

test("offline, what is stored is served however old, and no connection is opened", async () => {
  await staged(async ({ upstream, mirror, clock }) => {
    await mirror.mirror.stop();
    await clock.advance(400 * DAY);
    await using offline = await TestMirror.start({
      upstreams: { "docker.io": upstream },
      config: { offline: true },
      dir: mirror.dir,
      clock,
    });
    upstream.forgetRequests();
    const answer = await get(`${offline.url}/v2/library/demo/manifests/1`);
    assert.deepEqual(answer.body, old.manifest);
    assert.match(String(answer.headers["cache-status"]), /detail=stale$/);
    assert.equal((await get(`${offline.url}/v2/library/demo/manifests/2`)).status, 404);
    assert.equal(upstream.requests.length, 0);
  });
});

async function untilFresh(tag: string) {
  for (let tries = 0; tries < 500; tries += 1) {
    const answer = await get(tag);
    if (/^wharfinger; hit; ttl=\d+$/.test(String(answer.headers["cache-status"]))) return answer;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  throw new Error("the tag never became fresh");
}

test("a tag that the upstream has deleted is 404 for good, and served stale only when the upstream fails", async () => {
  await staged(async ({ upstream, clock, tag }) => {
    upstream.shelves.remove("library/demo", "1");
    await clock.advance(30 * MINUTE);
    assert.equal((await get(tag)).status, 200, "served while it is refreshed behind");
    await upstream.waitFor({ kind: "manifest", method: "HEAD" });
    for (let tries = 0; tries < 100 && (await get(tag)).status === 200; tries += 1) {
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    assert.equal((await get(tag)).status, 404);
    await clock.advance(11_000);
    assert.equal((await get(tag)).status, 404, "the negative cache is over, and the tag does not come back");
    upstream.fault({ kind: "manifest" }, { status: 503 });
    await clock.advance(11_000);
    const stale = await get(tag);
    assert.equal(stale.status, 200);
    assert.match(String(stale.headers["cache-status"]), /detail=stale$/);
  });
});

test("a moved tag whose content the limited upstream will not give is served as it was, marked stale", async () => {
  await staged(async ({ upstream, clock, tag }) => {
    upstream.shelves.add("library/demo", fresh, "1");
    upstream.fault({ kind: "manifest", method: "GET" }, { status: 429 });
    await clock.advance(2 * HOUR);
    assert.equal((await get(tag, { method: "HEAD" })).headers["docker-content-digest"], fresh.digest);
    const answer = await get(tag);
    assert.equal(answer.status, 200);
    assert.deepEqual(answer.body, old.manifest);
    assert.match(String(answer.headers["cache-status"]), /detail=stale$/);
  });
});

test("with a silent upstream the tags that are known are told after two seconds, and to all who follow at once", async () => {
  await staged(async ({ upstream, mirror, clock }) => {
    const gate = upstream.gate({ kind: "tags" }, "headers", 1);
    const list = `${mirror.url}/v2/library/demo/tags/list`;
    const first = get(list);
    await gate.reached;
    await clock.advance(2000);
    for (const answer of [await first, await get(list), await get(list)]) {
      assert.deepEqual(JSON.parse(answer.body.toString()), { name: "library/demo", tags: ["1"] });
      assert.match(String(answer.headers["cache-status"]), /detail=stale$/);
    }
    assert.equal(upstream.count({ kind: "tags" }), 1);
    upstream.shelves.add("library/demo", fresh, "2");
    gate.release();
    // What was held back is of before the second tag, and may be believed for its time.
    await mirror.until(async () => {
      await clock.advance(MINUTE);
      const { tags } = JSON.parse((await clock.during(get(list))).body.toString());
      return tags.join() === "1,2";
    }, "the new tag is never listed");
  });
});

for (const [age, what] of [
  [30 * MINUTE, "refreshed behind"],
  [2 * HOUR, "confirmed"],
] as const) {
  test(`a limiting upstream is not asked again with every request for a tag that had to be ${what}`, async () => {
    await staged(async ({ upstream, clock, tag }) => {
      upstream.fault({ kind: "manifest" }, { status: 429, retryAfter: "60" });
      await clock.advance(age);
      for (let at = 0; at < 20; at += 1) {
        assert.equal((await get(tag)).status, 200);
        await new Promise((resolve) => setTimeout(resolve, 2));
      }
      assert.ok(upstream.requests.length <= 2, `${upstream.requests.length} requests`);
      upstream.clearFaults();
      await clock.advance(61_000);
      const answer = await untilFresh(tag);
      assert.equal(answer.status, 200);
    });
  });
}

test("an older answer that comes late does not roll a tag back, and is the answer to whoever asked for it", async () => {
  await staged(async ({ upstream, mirror, clock }) => {
    const tag = `${mirror.url}/v2/library/late/manifests/1`;
    const first = makeImage({ seed: 3 });
    upstream.shelves.add("library/late", first, "1");
    const gate = upstream.gate({ method: "GET", kind: "manifest", reference: first.digest }, "headers", 1);
    const late = get(tag);
    await gate.reached;
    upstream.shelves.add("library/late", fresh, "1");
    clock.jump(6 * MINUTE);
    assert.equal((await get(tag, { method: "HEAD" })).headers["docker-content-digest"], fresh.digest);
    assert.equal((await get(`${mirror.url}/v2/library/late/manifests/${fresh.digest}`)).status, 200);
    gate.release();
    assert.deepEqual((await late).body, first.manifest);
    await clock.advance(2 * HOUR);
    upstream.fault({}, { status: 503 });
    assert.deepEqual((await clock.during(get(tag))).body, fresh.manifest);
  });
});

test("whoever has to wait for all of it is told after 25 s, however many questions it takes, and joins when it comes again", async () => {
  await staged(async ({ upstream, mirror, clock }) => {
    upstream.shelves.add("library/demo", fresh, "2");
    const tag = `${mirror.url}/v2/library/demo/manifests/2`;
    const head = upstream.gate({ kind: "manifest", method: "HEAD" }, "headers", 1);
    const body = upstream.gate({ kind: "manifest", method: "GET" }, "headers", 1);
    const first = get(tag);
    await head.reached;
    await clock.advance(18_000);
    head.release();
    await body.reached;
    await clock.advance(7000);
    const { status, headers } = await first;
    assert.deepEqual([status, headers["cache-status"]], [504, "wharfinger; fwd=miss; detail=unreachable"]);
    const second = get(tag);
    body.release();
    assert.deepEqual((await clock.during(second)).body, fresh.manifest);
    assert.deepEqual(
      upstream.requests.map(({ method }) => method),
      ["HEAD", "GET"],
    );
  });
});
