/**
 * What a front and the origin side say to each other: small documents, decisions and watermarks, never bytes of blobs.
 */

import type { Reachable } from "../meta/graph.ts";
import type { Place } from "../meta/repositories.ts";
import type { RememberedAbsence } from "../mirror/absences.ts";
import type { AbsentAnswer } from "../mirror/absent.ts";
import type { AgedPage, ListQuestion } from "../mirror/aged.ts";
import type { MirrorNotices } from "../mirror/notices.ts";
import type { Fetched, Sighting } from "../mirror/origin.ts";
import type { Newcomer } from "../mirror/room.ts";
import type { Digest } from "../oci/digest.ts";
import type { Tag } from "../oci/reference.ts";
import type { FileIdentity } from "../store/condemned.ts";
import type { Absence, BlobHead } from "../upstream/upstream.ts";
import type { ErrorText } from "./failures.ts";

/** The metrics of one process. What is in them is `observe`'s business. */
export type MetricValues = readonly object[];

export interface Flew<T> {
  readonly value: T;
  readonly joined: boolean;
}

/** What a front asks of the origin side. */
export interface DoorAsks {
  sightTag(asked: { place: Place; tag: Tag }): Promise<Flew<Sighting | Absence | undefined>>;
  refreshTag(asked: { place: Place; tag: Tag }): Promise<Flew<Fetched | Absence>>;
  fetchManifest(asked: { place: Place; digest: Digest }): Promise<Flew<Fetched | Absence>>;
  confirmBlob(asked: { place: Place; digest: Digest }): Promise<Flew<BlobHead | Absence>>;
  findPage(asked: { place: Place; question: ListQuestion }): Promise<AgedPage | AbsentAnswer>;
  findRefusal(asked: { sizeBytes: number; newcomer: Newcomer | undefined }): Promise<string | undefined>;
  /** The number to end the pass by. */
  takePass(asked: { place: Place }): Promise<number | undefined>;
  remove(asked: { digest: Digest }): Promise<void>;
  /** It looks as it should, and cannot be read. */
  discard(asked: { digest: Digest; seen: FileIdentity }): Promise<boolean>;
}

/** What a front tells the origin side. */
export interface DoorPosts {
  /** Answers of this front are wanted no more, or it cannot begin: why. */
  readonly failed: ErrorText;
  readonly listening: undefined;
  readonly link: { readonly place: Place; readonly entries: readonly Reachable[] };
  readonly addBlob: { readonly digest: Digest; readonly sizeBytes: number };
  readonly dropBlob: { readonly digest: Digest };
  /** What was read since the last time, and how often. */
  readonly uses: readonly (readonly [digest: Digest, uses: number])[];
  /** What it reads since the last time, and what no longer. */
  readonly reading: { readonly began: readonly Digest[]; readonly ended: readonly Digest[] };
  readonly endPass: { readonly pass: number };
  /** Joins or starts a fill, under a number of the front's choice. */
  readonly join: {
    readonly id: number;
    readonly place: Place;
    readonly digest: Digest;
    readonly sizeHint: number | undefined;
  };
  readonly release: { readonly id: number };
  readonly notice: {
    readonly kind: keyof MirrorNotices;
    readonly fact: unknown;
    readonly error: ErrorText | undefined;
  };
  /** The last counts, before the front ends. */
  readonly counts: MetricValues;
}

/** What the origin side asks of a front. */
export interface FrontAsks {
  counts(asked: undefined): Promise<MetricValues>;
}

export type FillState =
  | { readonly state: "absent"; readonly absence: Absence }
  | { readonly state: "failed"; readonly error: ErrorText }
  /** It ended before the front asked: the blob can be opened by its name. */
  | { readonly state: "stored" }
  | {
      readonly state: "ready";
      readonly sizeBytes: number;
      readonly visibleBytes: number;
      readonly bytesPerSecond: number;
      readonly path: string | undefined;
    };

/** What the origin side tells a front. */
export interface FrontPosts {
  /** Everything a front begins with. */
  readonly begin: Beginning;
  readonly fill: { readonly id: number; readonly joined: boolean; readonly place: Place } & FillState;
  readonly progress: { readonly id: number; readonly visibleBytes: number; readonly bytesPerSecond: number };
  readonly broken: { readonly id: number; readonly error: ErrorText };
  readonly sighting: Entry<Sighting>;
  readonly absence: Entry<RememberedAbsence>;
  readonly trouble: Entry<TroubleText>;
  readonly filling: Entry<Place>;
  /** A stored file was found damaged: nobody reads it any more. */
  readonly condemned: { readonly digest: Digest; readonly reason: string; readonly identity: FileIdentity };
  readonly relay: { readonly kind: keyof MirrorNotices };
  readonly stop: { readonly graceMs: number };
}

/** A change of what is remembered; no value: forgotten. */
export interface Entry<V> {
  readonly key: string;
  readonly value: V | undefined;
}

export interface TroubleText {
  readonly error: ErrorText;
  readonly until: number;
}

export interface Beginning {
  /** What the front's builder wants to know; this folder does not look into it. */
  readonly settings: unknown;
  readonly relayed: readonly (keyof MirrorNotices)[];
  readonly sightings: readonly [string, Sighting][];
  readonly absences: readonly [string, RememberedAbsence][];
  readonly troubles: readonly [string, TroubleText][];
  readonly fillings: readonly [string, Place][];
}
