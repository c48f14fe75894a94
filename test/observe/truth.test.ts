/** Damage and scrubs, in the log and the metrics. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Notices } from "../../src/base/notices.ts";
import type { DamageFact, ScrubFact } from "../../src/mirror/damage.ts";
import type { MirrorNotices } from "../../src/mirror/notices.ts";
import { createLog, observeWithLog } from "../../src/observe/log.ts";
import { createMetrics } from "../../src/observe/metrics.ts";
import { digestOf } from "../../src/oci/digest.ts";

const DAMAGE: DamageFact = {
  digest: digestOf(Buffer.from("x")),
  sizeBytes: 7,
  damage: "size",
  reason: "has 6 instead of 7 bytes",
  pinned: false,
  where: "removed",
  identity: "1:2:3:4",
  foundBy: "scrub",
};
const SCRUB: ScrubFact = {
  ...{ blobs: 3, bytes: 1000, damaged: 1, damagedBytes: 7, missing: 2, adopted: 4, adoptedBytes: 9 },
  ...{ strays: 0, unchecked: 0, startedAt: 1_000_000, endedAt: 3_000_000, resumed: false },
};

test("damage is a warning, of what is pinned an error, and a scrub that found some is a warning too", () => {
  const lines: { level: string; msg: string; reason?: string; damaged?: number }[] = [];
  const notices = new Notices<MirrorNotices>();
  const log = createLog({ level: "info", format: "json" }, { write: (line) => void lines.push(JSON.parse(line)) });
  const end = observeWithLog(log, notices);
  notices.emit("blobDamaged", DAMAGE);
  notices.emit("blobDamaged", { ...DAMAGE, pinned: true });
  notices.emit("scrubEnded", SCRUB);
  notices.emit("scrubEnded", { ...SCRUB, damaged: 0 });
  end();
  assert.deepEqual(
    lines.map(({ level }) => level),
    ["warn", "error", "warn", "info"],
  );
  assert.equal(lines[0]?.reason, DAMAGE.reason);
  assert.match(lines[1]?.msg ?? "", /pinned/);
  assert.equal(lines[2]?.damaged, 1);
});

test("the metrics tell of damage by its kind, and of the last scrub, that of an earlier process too", async () => {
  const notices = new Notices<MirrorNotices>();
  const metrics = createMetrics({ notices, gauges: undefined });
  const has = async (line: string) => assert.ok((await metrics.text()).includes(`\n${line}\n`), line);
  await has('wharfinger_blobs_damaged_total{damage="digest"} 0');
  await has("wharfinger_scrub_last_run_timestamp_seconds 0");
  notices.emit("scrubRemembered", { endedAt: 5_000_000 });
  await has("wharfinger_scrub_last_run_timestamp_seconds 5000");
  notices.emit("blobDamaged", DAMAGE);
  notices.emit("scrubEnded", SCRUB);
  await has('wharfinger_blobs_damaged_total{damage="size"} 1');
  await has("wharfinger_scrub_runs_total 1");
  await has("wharfinger_scrub_last_run_timestamp_seconds 3000");
  await has("wharfinger_scrub_last_duration_seconds 2000");
  await has("wharfinger_scrub_last_blobs 3");
  await has("wharfinger_scrub_last_bytes 1000");
  await has("wharfinger_scrub_last_missing_blobs 2");
  await has("wharfinger_scrub_last_adopted_blobs 4");
  metrics.stop();
});
