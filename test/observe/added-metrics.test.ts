/** Metrics of several processes as one: sums that never fall, and states of the living alone. */
import assert from "node:assert/strict";
import test from "node:test";
import { Notices } from "../../src/base/notices.ts";
import type { MirrorNotices } from "../../src/mirror/notices.ts";
import { addToDead, textOf } from "../../src/observe/added-metrics.ts";
import { createMetrics } from "../../src/observe/metrics.ts";

async function counted(stale: number, followers: number) {
  const notices = new Notices<MirrorNotices>();
  const metrics = createMetrics({ notices, gauges: undefined });
  for (let n = 0; n < stale; n += 1) notices.emit("staleServed", { upstream: "docker.io", reason: "offline" });
  for (let n = 0; n < followers; n += 1) notices.emit("followerOpened", undefined);
  const values = await metrics.values();
  metrics.stop();
  // As it arrives from another process.
  return structuredClone(values.map((value) => JSON.parse(JSON.stringify(value)) as (typeof values)[number]));
}

function sampleOf(text: string, name: string): number {
  const line = text.split("\n").find((one) => one.startsWith(name));
  return Number(line?.slice(line.lastIndexOf(" ")));
}

test("counters and gauges are sums, and the dead leave their counters alone", async () => {
  const [one, two] = [await counted(2, 3), await counted(5, 1)];
  const both = await textOf([one, two]);
  assert.equal(sampleOf(both, "wharfinger_stale_served_total"), 7);
  assert.equal(sampleOf(both, "wharfinger_followers_active"), 4);
  const dead = await addToDead(await addToDead([], one), await counted(1, 9));
  const after = await textOf([two, dead]);
  assert.equal(sampleOf(after, "wharfinger_stale_served_total"), 8);
  assert.equal(sampleOf(after, "wharfinger_followers_active"), 1);
});

test("the lag of event loops is the worst of them, and the start that of the first process", async () => {
  const metrics = await counted(0, 0);
  const set = (name: string, value: number) =>
    metrics.map((metric) => (metric.name === name ? { ...metric, values: [{ labels: {}, value }] } : metric));
  const lag = "nodejs_eventloop_lag_seconds";
  assert.equal(sampleOf(await textOf([set(lag, 0.5), set(lag, 0.1)]), `${lag} `), 0.5);
  const start = "process_start_time_seconds";
  assert.equal(sampleOf(await textOf([set(start, 20), set(start, 10)]), `${start} `), 10);
});
