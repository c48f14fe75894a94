/**
 * What `wharfinger scrub` says. Pure.
 */
import type { ScrubResult } from "../api/scrub.ts";
import { bytesText, countText } from "../config/figures.ts";
import type { DamageFact } from "../mirror/damage.ts";
import { plain, spanText } from "./wording.ts";

type Told = Pick<DamageFact, "digest" | "reason" | "pinned" | "where">;

export function damageText({ digest, reason, pinned, where }: Told): string {
  const what = pinned ? `${reason}, and is pinned` : reason;
  if (where === undefined)
    return plain(`${digest}: DAMAGED: ${what}; it could not be moved, and is not served any more`);
  return plain(`${digest}: DAMAGED: ${what}; ${where === "removed" ? "removed" : `moved to ${where}`}`);
}

export function indexText({ added, dropped, linked, files }: NonNullable<ScrubResult["index"]>): string {
  const changes = [
    ...(added > 0 ? [`${counted(added, "file")} that it did not know`] : []),
    ...(dropped > 0 ? [`${counted(dropped, "row")} without a file dropped`] : []),
    ...(linked > 0 ? [`${counted(linked, "manifest")} read`] : []),
  ];
  const what = changes.length === 0 ? "it was as it should be" : changes.join(", ");
  return `index of ${counted(files, "file")}: ${what}\n`;
}

/** A line of what was read, and one for each thing that is not as it was. */
export function reportText(report: ScrubResult): string {
  const { blobs, bytes, damaged, damagedBytes, missing, adopted, adoptedBytes, strays, unchecked } = report;
  const span = spanText(Math.max(0, Date.parse(report.endedAt) - Date.parse(report.startedAt)));
  const well = damaged === 0 && unchecked === 0 ? "nothing is damaged" : `${counted(damaged, "blob")} damaged`;
  const begun = report.resumed ? " since it was first begun" : "";
  const lines = [`${counted(blobs, "blob")}, ${bytesText(bytes)} read in ${span}${begun}: ${well}`];
  if (damaged > 0) {
    lines.push(`  ${bytesText(damagedBytes)} are fetched again when somebody asks for them`);
    for (const fact of report.damage) lines.push(`  ${damageText(fact)}`);
    const rest = damaged - report.damage.length;
    if (rest > 0) lines.push(`  and ${counted(rest, "more")}, which the log names`);
  }
  if (missing > 0) lines.push(`  ${counted(missing, "row")} of the index without a file: dropped`);
  if (adopted > 0)
    lines.push(`  ${counted(adopted, "file")} that the index did not know, ${bytesText(adoptedBytes)}: it does now`);
  if (strays > 0) lines.push(`  ${counted(strays, "thing")} among the blobs that are none: left as they are`);
  if (unchecked > 0) lines.push(`  ${counted(unchecked, "blob")} could not be looked at; the log says why`);
  return lines.map((line) => `${line}\n`).join("");
}

function counted(count: number, what: string): string {
  return `${countText(count)} ${count === 1 || what === "more" ? what : `${what}s`}`;
}
