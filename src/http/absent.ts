/**
 * How "the upstream has no such thing" is told: which code, and what the reader may do about it. Pure.
 */
import type { Absence } from "../upstream/upstream.ts";

const CODES = {
  manifest: "MANIFEST_UNKNOWN",
  blob: "BLOB_UNKNOWN",
  tags: "NAME_UNKNOWN",
  referrers: "MANIFEST_UNKNOWN",
};

export function absentError(kind: keyof typeof CODES, what: string, absence: Absence) {
  const message =
    absence.absent === "denied"
      ? "the upstream does not show this to the mirror: it does not exist, or needs (other) credentials under `upstreams`"
      : `the upstream has no such ${kind === "tags" ? "repository" : kind}`;
  return { code: CODES[kind], message, detail: { reference: what } };
}
