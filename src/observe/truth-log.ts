/**
 * What was found out about stored bytes, as lines of the log.
 */
import type { Logger } from "pino";
import type { Notices } from "../base/notices.ts";
import type { MirrorNotices } from "../mirror/notices.ts";
import { redact } from "./redact.ts";

/** @returns the functions that end the subscriptions. */
export function logTruth(log: Logger, notices: Notices<MirrorNotices>): (() => void)[] {
  return [
    notices.on("blobDamaged", ({ digest, sizeBytes, damage, reason, pinned, where, foundBy }) => {
      const fields = { digest, bytes: sizeBytes, damage, reason: redact(reason), pinned, where, foundBy };
      // What somebody wanted to have whatever happens is missing until it is asked for again.
      if (pinned) log.error(fields, "a pinned blob is damaged on disk; it is fetched again when it is asked for");
      else log.warn(fields, "a stored blob is damaged on disk; it is fetched again when it is asked for");
    }),
    notices.on("scrubEnded", ({ startedAt, endedAt, ...counts }) => {
      const level = counts.damaged > 0 ? "warn" : "info";
      log[level](
        { ...counts, startedAt: new Date(startedAt).toISOString(), durationMs: endedAt - startedAt },
        "scrub ended",
      );
    }),
  ];
}
