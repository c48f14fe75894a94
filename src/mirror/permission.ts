/**
 * Whether stored bytes may be read in a repository. Pure.
 *
 * What the upstream confirmed there may. What only a manifest names there may if the bytes came from the same upstream:
 * its registry answers for what is pushed to it, and for nothing that is stored of another.
 */
import type { Reachable } from "../meta/graph.ts";

/** @param storedFrom the upstream that the bytes came from; undefined where that is not known. */
export function mayRead(reachable: Reachable | undefined, storedFrom: string | undefined, upstream: string): boolean {
  if (reachable === undefined) return false;
  return reachable.confirmed || storedFrom === upstream;
}
