/** At the end of an upstream's pull limit, by a clock of the test's own: what is stored is served, the rest says when. */
import assert from "node:assert/strict";
import { test as testInAnyMode } from "node:test";
import { ManualClock } from "../kit/clock.ts";
import { get } from "../kit/http.ts";
import { makeImage, makeIndex } from "../kit/image.ts";
import { TestMirror } from "../kit/mirror.ts";
import { TestUpstream } from "../kit/upstream.ts";
import { testInOneProcess } from "../kit/workers.ts";

const test = testInOneProcess("needs this process's clock");

const WINDOW_SECONDS = 21_600;
const index = (seed: number) =>
  makeIndex([
    makeImage({ layers: [10], seed: seed * 2 }),
    makeImage({ layers: [10], seed: seed * 2 + 1, architecture: "arm64" }),
  ]);
const [old, fresh, other] = [index(1), index(2), index(3)];

async function limited(
  limit: number,
  run: (stage: {
    upstream: TestUpstream;
    mirror: TestMirror;
    clock: ManualClock;
    at: (what: string) => string;
  }) => Promise<void>,
) {
  const clock = new ManualClock();
  const pullLimit = { limit, windowSeconds: WINDOW_SECONDS, now: () => clock.now() };
  await using upstream = await TestUpstream.start({ pullLimit });
  upstream.shelves.add("library/demo", old, "1");
  upstream.shelves.add("library/demo", other, "other");
  await using mirror = await TestMirror.start({ upstreams: { "docker.io": upstream }, clock });
  const at = (what: string) => `${mirror.url}/v2/library/demo/manifests/${what}`;
  for (const what of ["1", old.images[0]?.digest ?? ""]) assert.equal((await get(at(what))).status, 200);
  await run({ upstream, mirror, clock, at });
}

test("with the limit used up nothing is sent: what is stored is served, what is not is 429 until the window turns", async () => {
  await limited(2, async ({ upstream, mirror, clock, at }) => {
    upstream.shelves.add("library/demo", fresh, "1");
    upstream.forgetRequests();
    await clock.advance(2 * 3_600_000);
    for (let round = 0; round < 5; round++) {
      const stale = await get(at("1"));
      assert.deepEqual(stale.body, old.manifest);
      assert.match(String(stale.headers["cache-status"]), /detail=stale$/);
      assert.match(String(stale.headers.warning), /^299 - ".*0 of 2 pulls left; asked again in 4 h"$/);
      for (const method of ["GET", "HEAD"]) {
        const refused = await get(at("other"), { method });
        assert.deepEqual([refused.status, refused.headers["retry-after"]], [429, String(WINDOW_SECONDS - 7200 + 1)]);
        if (method === "GET") assert.equal(JSON.parse(refused.body.toString()).errors[0].code, "TOOMANYREQUESTS");
      }
    }
    assert.equal(upstream.requests.length, 0);
    const metrics = (await get(`${mirror.adminUrl}/metrics`)).body.toString();
    assert.match(metrics, /^wharfinger_ratelimit_remaining\{upstream="docker\.io",account="anonymous"\} 0$/m);
    await clock.advance((WINDOW_SECONDS - 7200 + 1) * 1000);
    assert.deepEqual((await get(at("other"))).body, other.manifest);
  });
});

test("a change that is not covered is put off whole, and taken over when it is", async () => {
  await limited(10, async ({ upstream, clock, at }) => {
    upstream.countPulls(5);
    upstream.shelves.add("library/demo", fresh, "1");
    await clock.advance(2 * 3_600_000 + 1);
    const pull = async () => {
      const head = await get(at("1"), { method: "HEAD" });
      const top = await get(at(String(head.headers["docker-content-digest"])));
      const { manifests } = JSON.parse(top.body.toString()) as { manifests: { digest: string }[] };
      return (
        (await get(at(manifests[0]?.digest ?? ""))).status === 200 && String(head.headers["docker-content-digest"])
      );
    };
    assert.equal(await pull(), old.digest);
    assert.equal(upstream.pullsUsed, 7);
    await clock.advance(WINDOW_SECONDS * 1000);
    assert.equal(await pull(), fresh.digest);
    assert.equal(upstream.pullsUsed, 2);
  });
});

testInAnyMode("the last pull that is left is not asked for twice, however many want it at once", async () => {
  await using upstream = await TestUpstream.start({ pullLimit: { limit: 3, windowSeconds: WINDOW_SECONDS } });
  upstream.shelves.add("library/demo", old, "1");
  upstream.shelves.add("library/demo", other, "other");
  upstream.countPulls(1);
  // All of them look at what is left before the first one is sent.
  const limits = { requestsPerSecond: 2 };
  await using mirror = await TestMirror.start({ upstreams: { "docker.io": upstream }, upstream: { limits } });
  const at = (what: string) => `${mirror.url}/v2/library/demo/manifests/${what}`;
  assert.equal((await get(at("1"))).status, 200);
  const wanted = [...old.images, ...other.images].map(({ digest }) => get(at(digest)));
  const statuses = (await Promise.all(wanted)).map(({ status }) => status).sort();
  assert.deepEqual(statuses, [200, 429, 429, 429]);
  assert.equal(upstream.count({ kind: "manifest", method: "GET" }), 2);
});

test("several tags that name one digest cost one pull, when they are new and when they move", async () => {
  await limited(100, async ({ upstream, mirror, clock, at }) => {
    const tags = ["a", "b", "c"];
    for (const image of [other, fresh]) {
      for (const tag of tags) upstream.shelves.add("library/demo", image, tag);
      upstream.forgetRequests();
      const gate = upstream.gate({ kind: "manifest", method: "GET" }, "headers", 1);
      const answers = [...tags, image.digest].map((what) => get(at(what)));
      await gate.reached;
      await upstream.waitFor({ kind: "manifest", method: "HEAD", reference: "c" });
      gate.release();
      for (const { body } of await Promise.all(answers)) assert.deepEqual(body, image.manifest);
      assert.equal(upstream.count({ kind: "manifest", method: "GET" }), 1);
      await mirror.settled();
      await clock.advance(2 * 3_600_000);
    }
  });
});
