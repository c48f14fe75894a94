/**
 * The format of a cache directory is the name of the directory in it (`v1`): a change of it is a new directory, never a
 * conversion in place. What a newer version has begun there is left alone.
 */
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { errnoOf, Failure, messageOf } from "../base/failure.ts";

/** @throws Failure `storage` where the directory holds a newer format than `known`. */
export function refuseNewerFormat(cacheDirectory: string, known: string): void {
  const newest = formatsIn(cacheDirectory).sort((one, other) => other - one)[0];
  const own = numberOf(known) ?? 0;
  if (newest === undefined || newest <= own) return;
  const path = join(cacheDirectory, `v${newest}`);
  const advice = `Run that version, give this one another cache.dir, or remove ${path}`;
  throw new Failure("storage", `${path} was written by a newer version; this one knows format ${known}. ${advice}.`);
}

function formatsIn(directory: string): number[] {
  try {
    return readdirSync(directory).flatMap((name) => numberOf(name) ?? []);
  } catch (cause) {
    if (errnoOf(cause) === "ENOENT") return [];
    throw new Failure("storage", `cannot read the cache directory: ${messageOf(cause)}`, { cause });
  }
}

function numberOf(name: string): number | undefined {
  const digits = /^v([1-9]\d{0,8})$/.exec(name)?.[1];
  return digits === undefined ? undefined : Number(digits);
}
