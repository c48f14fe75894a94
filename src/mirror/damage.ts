/**
 * What is found out about stored bytes after they were stored.
 */
import type { Digest } from "../oci/digest.ts";
import type { FileIdentity } from "../store/condemned.ts";

/** How a stored file can be wrong: other bytes, a wrong length as well, not readable, or something else than a file. */
export type Damage = "digest" | "size" | "unreadable" | "no-file";

export interface DamageFact {
  readonly digest: Digest;
  /** As it should be, by the index; undefined where that does not know it. */
  readonly sizeBytes: number | undefined;
  readonly damage: Damage;
  /** For people: "does not match its digest". */
  readonly reason: string;
  /** Somebody wants it to stay whatever happens. */
  readonly pinned: boolean;
  /** Where the file is now; "removed" where it was not kept, undefined where it could not be taken away. */
  readonly where: string | undefined;
  /** The file that was found damaged; undefined where nobody could have it open. */
  readonly identity: FileIdentity | undefined;
  readonly foundBy: "scrub" | "check";
}

/** What a scrub has found so far, from its first blob on, earlier processes included. */
export interface ScrubCounts {
  /** What was looked at. */
  readonly blobs: number;
  readonly bytes: number;
  /** Files that were wrong; they are no longer in the store. */
  readonly damaged: number;
  readonly damagedBytes: number;
  /** Rows of the index whose file was gone; they are dropped. */
  readonly missing: number;
  /** Good files that the index did not know; it does now. */
  readonly adopted: number;
  readonly adoptedBytes: number;
  /** What lies among the blobs and has no blob's name; left as it is. */
  readonly strays: number;
  /** What could not be looked at, for want of memory or descriptors. */
  readonly unchecked: number;
}

export interface ScrubFact extends ScrubCounts {
  /** Epoch milliseconds, of the process that began it. */
  readonly startedAt: number;
  readonly endedAt: number;
  /** It went on where an earlier one was stopped. */
  readonly resumed: boolean;
}

export interface DamageNotices {
  /** A stored blob turned out to be damaged; it is fetched again when somebody asks for it. */
  blobDamaged: DamageFact;
  /** An earlier process read everything, at this moment (epoch milliseconds). Told once, at the start. */
  scrubRemembered: { readonly endedAt: number };
  /** Everything that is stored was read. */
  scrubEnded: ScrubFact;
}
