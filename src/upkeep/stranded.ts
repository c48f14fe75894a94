/**
 * What no root leads to although something names it: documents that name one another in a circle (by `subject`, which is
 * all that hashing lets), or whose namers were lost. It would otherwise stay for ever.
 */
import type { Holdings } from "../meta/holdings.ts";
import type { Digest } from "../oci/digest.ts";
import type { Unit } from "./candidates.ts";
import type { Slices } from "./slices.ts";

export interface StrandedParts {
  readonly holdings: Pick<Holdings, "findNamed" | "hasRoot" | "findUnit">;
  readonly isBusy: (digest: Digest) => boolean;
}

const BATCH = 16;

/** Enough of it to free so many bytes, or all there is. A walk over everything: for when nothing else is left. */
export async function findStranded(
  { holdings, isBusy }: StrandedParts,
  bytes: number,
  slices: Slices,
): Promise<Unit[]> {
  const units: Unit[] = [];
  const taken = new Set<Digest>();
  let found = 0;
  for (let after: Digest | "" = ""; found < bytes; ) {
    await slices.pass();
    const batch = holdings.findNamed(after, BATCH);
    const last = batch.at(-1);
    if (last === undefined) break;
    after = last.digest;
    for (const root of batch) {
      if (taken.has(root.digest) || holdings.hasRoot(root.digest)) continue;
      const members = holdings.findUnit(root.digest).filter(({ digest }) => !taken.has(digest));
      if (members.some(({ digest }) => isBusy(digest))) continue;
      units.push({ root, members, worth: root.worth });
      for (const { digest, sizeBytes } of members) {
        taken.add(digest);
        found += sizeBytes;
      }
    }
  }
  return units;
}
