/**
 * The cache's directory, on the mirror's own machine: can it be written to, is there room, is it on a disk at all?
 */
import { accessSync, constants, statfsSync, statSync } from "node:fs";
import { dirname } from "node:path";
import { errnoOf, messageOf } from "../../base/failure.ts";
import { type SizeLimit, sizeText } from "../../config/units.ts";
import { type Finding, fail, ok, warn } from "./finding.ts";

const CHECK = "disk";

/** Magic numbers of statfs(2). */
const UNFIT: ReadonlyMap<number, string> = new Map([
  [0x01021994, "tmpfs, so the cache is in memory and lost with the machine"],
  [0x858458f6, "ramfs, so the cache is in memory and lost with the machine"],
  [0x794c7630, "overlay, so the cache is in a container's own layer, slow, and lost with the container"],
  [0x6969, "NFS, on which SQLite's locks cannot be relied on"],
  [0xff534d42, "CIFS, on which SQLite's locks cannot be relied on"],
  [0xfe534d42, "SMB, on which SQLite's locks cannot be relied on"],
]);

export interface CacheSettings {
  readonly dir: string;
  readonly maxSize: SizeLimit;
  readonly minFree: number;
}

export function lookAtDisk({ dir, maxSize, minFree }: CacheSettings): readonly Finding[] {
  const place = nearest(dir);
  try {
    if (!statSync(place).isDirectory()) return [fail(CHECK, `${place} is no directory`, "set cache.dir to one")];
    accessSync(place, constants.W_OK | constants.X_OK);
  } catch (error) {
    const next = `chown it to the user that the mirror runs as, or run doctor as that user`;
    return [fail(CHECK, `${place} cannot be written to: ${messageOf(error)}`, next)];
  }
  const { type, bsize, blocks, bavail } = statfsSync(place);
  return judgeDisk({ dir, maxSize, minFree }, { type, totalBytes: blocks * bsize, freeBytes: bavail * bsize }, place);
}

export interface DiskFacts {
  /** Magic number. */
  readonly type: number;
  readonly totalBytes: number;
  readonly freeBytes: number;
}

/** Pure. */
export function judgeDisk({ dir, maxSize, minFree }: CacheSettings, disk: DiskFacts, place = dir): readonly Finding[] {
  const { type, totalBytes, freeBytes } = disk;
  const findings: Finding[] = [];
  const unfit = UNFIT.get(type);
  if (unfit !== undefined) {
    findings.push(
      warn(CHECK, `${place} is on ${unfit}`, "set cache.dir to a directory of a local disk, or mount a volume there"),
    );
  }
  const room = `${sizeText(freeBytes)} of ${sizeText(totalBytes)} free`;
  const limit = typeof maxSize === "number" ? maxSize : (totalBytes * maxSize.percent) / 100;
  if (freeBytes < minFree) {
    const says = `${room} at ${place}, less than cache.minFree (${sizeText(minFree)}): nothing new is kept`;
    findings.push(fail(CHECK, says, "free some space, or set cache.minFree lower"));
  } else if (limit + minFree > totalBytes) {
    const says = `cache.maxSize (${sizeText(limit)}) and cache.minFree are more than the whole of ${place} (${sizeText(totalBytes)})`;
    findings.push(warn(CHECK, says, `set cache.maxSize to what it may take, such as "80%"`));
  }
  return findings.length > 0 ? findings : [ok(CHECK, `${dir} can be written to, ${room}`)];
}

/** The directory itself or, where it will be made at start, the one that it will be made in. */
function nearest(dir: string): string {
  for (let at = dir; ; at = dirname(at)) {
    try {
      statSync(at);
      return at;
    } catch (error) {
      if (errnoOf(error) !== "ENOENT" || dirname(at) === at) return at;
    }
  }
}
