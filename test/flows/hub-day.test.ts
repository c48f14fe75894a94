/**
 * A day of builds against Docker Hub's limit, scaled down: no pull fails, and no more pulls are used than there are new
 * digests. `bench hub-day` is the long one.
 */
import assert from "node:assert/strict";
import { ManualClock } from "../kit/clock.ts";
import { Day } from "../kit/day.ts";
import { get } from "../kit/http.ts";
import { TestMirror } from "../kit/mirror.ts";
import { testInOneProcess } from "../kit/workers.ts";

const test = testInOneProcess("needs this process's clock");

test("a day of changing tags under a pull limit fails no pull and uses no more pulls than there are new digests", async () => {
  const clock = new ManualClock();
  await using day = await Day.start(
    {
      runners: 2,
      tags: 12,
      limit: 30,
      hours: 24,
      everyMinutes: 15,
      changeEveryMinutes: 60,
      burst: { atHour: 10, tags: 8 },
      others: { atHour: 14, pulls: 20 },
    },
    clock,
  );
  await using mirror = await TestMirror.start({
    upstreams: { "docker.io": day.upstream },
    clock,
    config: { tls: undefined },
  });
  const figures = await day.run(mirror.url);
  assert.deepEqual([figures.failedPulls, figures.firstFailure], [0, undefined]);
  assert.equal(figures.pulls, 2 * 12 * 24 * 4);
  assert.ok(figures.gets <= figures.published, `${figures.gets} GETs for ${figures.published} new digests`);
  assert.equal(figures.refusals, 0);
  assert.ok(figures.delays.length > 10, `${figures.delays.length} changes were seen`);
  const metrics = (await get(`${mirror.adminUrl}/metrics`)).body.toString();
  assert.match(metrics, /^wharfinger_ratelimit_limit\{upstream="docker\.io",account="anonymous"\} 30$/m);
});
