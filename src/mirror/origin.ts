/**
 * The one door between the front, which answers from what is stored, and the origin side, which asks upstreams and
 * writes the store. Everything here is coalesced: however many ask, the upstream is asked once.
 */
import type { Failure } from "../base/failure.ts";
import type { Place } from "../meta/repositories.ts";
import type { Digest } from "../oci/digest.ts";
import type { Tag } from "../oci/reference.ts";
import type { Absence, BlobHead } from "../upstream/upstream.ts";
import type { Route } from "./route.ts";
import type { ShelvedManifest } from "./shelf.ts";
import type { Ticket } from "./ticket.ts";

/** What an upstream last said a tag names, without its content. */
export interface Sighting {
  readonly digest: Digest;
  readonly mediaType: string;
  readonly sizeBytes: number;
  /** Epoch milliseconds. */
  readonly at: number;
}

export interface Fetched {
  readonly manifest: ShelvedManifest;
  /** False where its bytes were stored before, and the upstream only confirmed them. */
  readonly fetched: boolean;
  /** False where the disk would not take it. */
  readonly kept: boolean;
  readonly checkedAt: number;
  /** By a request that already ran for somebody else. */
  readonly joined?: boolean;
}

export interface Flown<T> {
  readonly outcome: Promise<T>;
  /** True where it ran already when this caller came. Meaningful when the outcome is there. */
  readonly joined: boolean;
}

export interface Origin {
  /** What is remembered of a tag, as long as it is fresh. */
  findSighting(route: Route, tag: Tag): Sighting | undefined;
  findAbsence(route: Route, what: string): Absence | undefined;
  /** How the upstream failed when it was last asked for the tag, just now. */
  findTrouble(route: Route, tag: Tag): Failure | undefined;

  /**
   * Asks what a tag names, by HEAD; the content is not fetched. Undefined where the upstream does not tell by HEAD.
   */
  sightTag(route: Route, tag: Tag): Flown<Sighting | Absence | undefined>;
  /** Asks what a tag names, and fetches and keeps that manifest where it is not stored yet. */
  refreshTag(route: Route, tag: Tag): Flown<Fetched | Absence>;
  /** Fetches and keeps a manifest, or confirms by HEAD that this repository has it where its bytes are stored already. */
  fetchManifest(route: Route, digest: Digest): Flown<Fetched | Absence>;

  /** Asks by HEAD whether this repository has the blob; a yes is recorded as permission. */
  confirmBlob(route: Route, digest: Digest): Flown<BlobHead | Absence>;
  /** Starts the fill of a blob, or joins the one that runs. The ticket must be released, or a follower of it closed. */
  fillBlob(route: Route, digest: Digest, sizeHint: number | undefined): Ticket;
  /** Where the running fill of a digest gets it from, if there is one. Does not join it. */
  findFill(digest: Digest): Place | undefined;
}
