/**
 * What is wanted warm stays worth about as much as what was used once in the last half day, however often it is wanted: it
 * is not let go of for what is fetched beside it, and its hits remain the clients'.
 */
import type { Usage } from "../meta/usage.ts";
import { HALF_LIFE_MS } from "../meta/worth.ts";
import type { Digest } from "../oci/digest.ts";

export type Worth = Pick<Usage, "note" | "worthOf" | "now">;

export function keepWorth(usage: Worth, digest: Digest): void {
  if (usage.worthOf(digest) < usage.now() - HALF_LIFE_MS / 2) usage.note(digest);
}
