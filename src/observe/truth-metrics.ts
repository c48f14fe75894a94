/**
 * What was found out about stored bytes, as metrics.
 */
import { Counter, Gauge, type Registry } from "prom-client";
import type { Notices } from "../base/notices.ts";
import type { Damage } from "../mirror/damage.ts";
import type { MirrorNotices } from "../mirror/notices.ts";

const DAMAGES: readonly Damage[] = ["digest", "size", "unreadable", "no-file"];

/** @returns the functions that end the subscriptions. */
export function tallyTruth(register: Registry, notices: Notices<MirrorNotices>): (() => void)[] {
  const registers = [register];
  const gauge = (name: string, help: string) => new Gauge({ name: `wharfinger_scrub_${name}`, help, registers });
  const damaged = new Counter({
    name: "wharfinger_blobs_damaged_total",
    help: "Stored blobs that were found damaged, by a scrub or behind serving",
    labelNames: ["damage"],
    registers,
  });
  for (const damage of DAMAGES) damaged.inc({ damage }, 0);
  const runs = new Counter({
    name: "wharfinger_scrub_runs_total",
    help: "Scrubs that came to their end",
    registers,
  });
  const last = {
    endedAt: gauge("last_run_timestamp_seconds", "When the last scrub had read everything; 0 for never"),
    seconds: gauge("last_duration_seconds", "How long the last scrub took"),
    blobs: gauge("last_blobs", "Blobs that the last scrub read"),
    bytes: gauge("last_bytes", "Bytes that the last scrub read"),
    damaged: gauge("last_damaged_blobs", "Blobs that the last scrub found damaged"),
    missing: gauge("last_missing_blobs", "Rows of the index whose files the last scrub did not find"),
    adopted: gauge("last_adopted_blobs", "Files that the last scrub found and the index did not know"),
  };
  return [
    notices.on("blobDamaged", ({ damage }) => damaged.inc({ damage })),
    notices.on("scrubRemembered", ({ endedAt }) => last.endedAt.set(endedAt / 1000)),
    notices.on("scrubEnded", (fact) => {
      runs.inc();
      last.endedAt.set(fact.endedAt / 1000);
      last.seconds.set((fact.endedAt - fact.startedAt) / 1000);
      last.blobs.set(fact.blobs);
      last.bytes.set(fact.bytes);
      last.damaged.set(fact.damaged);
      last.missing.set(fact.missing);
      last.adopted.set(fact.adopted);
    }),
  ];
}
