/**
 * What is timed, in words.
 */
import type { Timing } from "./tally.ts";

export const TIMING_NAMES: Readonly<Record<Timing, string>> = {
  manifest: "manifest",
  blobFirstByte: "blob, first byte",
  blobTotal: "blob, whole",
  pull: "pull",
};
