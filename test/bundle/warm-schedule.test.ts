/** What the configuration wants warm is fetched when its time comes, one after the other, and observers are told. */
import assert from "node:assert/strict";
import { ManualClock } from "../kit/clock.ts";
import { get } from "../kit/http.ts";
import { makeImage } from "../kit/image.ts";
import { TestMirror } from "../kit/mirror.ts";
import { TestUpstream } from "../kit/upstream.ts";
import { testInOneProcess } from "../kit/workers.ts";

const test = testInOneProcess("needs this process's clock");
const TEN_MINUTES = 600_000;

test("a schedule fetches its images when it comes due, and what has changed the next time", async () => {
  const clock = new ManualClock();
  await using upstream = await TestUpstream.start();
  const [first, second] = [makeImage({ seed: 1 }), makeImage({ seed: 2 })];
  upstream.shelves.add("library/demo", first, "1");
  const warm = [{ images: ["demo:1", "demo:gone"], schedule: "*/10 * * * *" }];
  await using mirror = await TestMirror.start({ upstreams: { "docker.io": upstream }, config: { warm }, clock });
  const runs: { images: number; failedImages: number; fetchedBytes: number; scheduled: boolean }[] = [];
  mirror.mirror.notices.on("warmed", (fact) => runs.push(fact));
  const comes = async (count: number) => {
    await clock.advance(TEN_MINUTES);
    while (runs.length < count) {
      await clock.advance(50);
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
  };
  await clock.advance(1000);
  assert.equal(upstream.requests.length, 0);
  await comes(1);
  assert.equal((await get(`${mirror.url}/v2/library/demo/manifests/1`)).headers["docker-content-digest"], first.digest);
  upstream.shelves.add("library/demo", second, "1");
  await comes(2);
  assert.equal((await mirror.stored()).includes(second.digest.slice(7)), true);
  for (const { images, failedImages, scheduled } of runs) {
    assert.deepEqual([images, failedImages, scheduled], [2, 1, true]);
  }
  const metrics = (await get(`${mirror.adminUrl}/metrics`)).body.toString();
  assert.match(metrics, /^wharfinger_warm_runs_total\{outcome="failed"\} 2$/m);
  assert.match(metrics, /^wharfinger_warm_images_total\{outcome="done"\} 2$/m);
  assert.match(metrics, /^wharfinger_warm_images_total\{outcome="failed"\} 2$/m);
});

test("two that come due together run one after the other, and a stopping mirror waits for none", async () => {
  const clock = new ManualClock();
  await using upstream = await TestUpstream.start();
  for (const name of ["one", "two"]) upstream.shelves.add(`library/${name}`, makeImage({ seed: 3 }), "latest");
  const gate = upstream.gate({ kind: "manifest", repository: "library/one" }, "headers");
  const schedule = "*/10 * * * *";
  const warm = [
    { images: ["one"], schedule },
    { images: ["two"], schedule },
  ];
  const mirror = await TestMirror.start({ upstreams: { "docker.io": upstream }, config: { warm }, clock });
  try {
    const ended: boolean[] = [];
    mirror.mirror.notices.on("warmed", ({ brokenOff }) => ended.push(brokenOff));
    await clock.advance(TEN_MINUTES);
    await gate.reached;
    await clock.advance(1000);
    assert.equal(upstream.count({ repository: "library/two" }), 0);
    await clock.during(mirror.mirror.stop());
    assert.deepEqual(ended, [true]);
    assert.equal(upstream.count({ repository: "library/two" }), 0);
  } finally {
    gate.release();
    await mirror[Symbol.asyncDispose]();
  }
});

test("an offline mirror fetches nothing by itself", async () => {
  const clock = new ManualClock();
  await using upstream = await TestUpstream.start();
  const warm = [{ images: ["demo:1"], schedule: "*/10 * * * *" }];
  const config = { warm, offline: true };
  await using mirror = await TestMirror.start({ upstreams: { "docker.io": upstream }, config, clock });
  const facts: unknown[] = [];
  mirror.mirror.notices.on("warmed", (fact) => facts.push(fact));
  mirror.mirror.notices.on("backgroundFailed", (fact) => facts.push(fact));
  await clock.advance(2 * TEN_MINUTES);
  assert.deepEqual([facts, upstream.requests.length], [[], 0]);
});
