/**
 * The port to whatever can make room in a full store, and what is known of who wants it.
 */
import type { Digest } from "../oci/digest.ts";
import type { Shortage } from "./admission.ts";

/** What wants to be stored. */
export interface Newcomer {
  readonly digest: Digest;
  /** Where its bytes come from. */
  readonly upstream: string;
}

export interface RoomWanted extends Shortage {
  readonly newcomer: Newcomer & { readonly sizeBytes: number };
  /** How much may be stored in all. */
  readonly limitBytes: number;
}

export interface RoomMaker {
  /** Bytes whose rows are gone and whose files are not yet. */
  readonly leavingBytes: number;
  /**
   * Makes at least so much room now, or leaves everything as it is.
   * @returns why there is none for this newcomer, in the words of `Cache-Status`' `detail`; undefined where there is, or
   *   where it was tried.
   */
  makeRoom(wanted: RoomWanted): Promise<string | undefined>;
  /** Something was taken: it may be time to make room before it is needed. Costs nothing where it is not. */
  stir(): void;
}

/** Room that a running fill has set aside. */
export interface Room {
  /** More than this must not be written. */
  readonly limitBytes: number;
  /** May be called more than once. */
  release(): void;
}
