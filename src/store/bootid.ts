/**
 * What tells this start of the machine from every other one: what was written, and not synced, is there as long as it runs.
 */
import { readFileSync } from "node:fs";

/** Linux: random(4), `/proc/sys/kernel/random/boot_id`. Undefined where there is no such thing. */
export function findBootId(path = "/proc/sys/kernel/random/boot_id"): string | undefined {
  try {
    return readFileSync(path, "utf8").trim() || undefined;
  } catch {
    return undefined;
  }
}
