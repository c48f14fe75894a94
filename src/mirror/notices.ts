/**
 * What the mirror makes known to observers, the upstreams' facts included.
 */
import type { RequestKind, UpstreamNotices } from "../upstream/notices.ts";
import type { Need } from "./admission.ts";
import type { DamageNotices } from "./damage.ts";

/** How the cache took part in an answer; one of the bounded label values of the metrics. */
export type CacheLabel = "hit" | "miss" | "joined" | "stale" | "revalidated" | "partial" | "bypass" | "none";

export interface MirrorNotices extends UpstreamNotices, DamageNotices {
  /** A client's request was answered, or the client left. Emitted once per request. */
  answered: AnsweredFact;
  fillStarted: { readonly upstream: string; readonly digest: string };
  /** The fill's upstream broke and was asked again from the byte that was reached. */
  fillResumed: { readonly upstream: string; readonly digest: string; readonly atByte: number; readonly reason: string };
  /** A fill goes on with what an earlier one has left. */
  fillTakenUp: { readonly upstream: string; readonly digest: string; readonly atByte: number };
  fillEnded: {
    readonly upstream: string;
    readonly digest: string;
    readonly bytes: number;
    readonly durationMs: number;
    /** Undefined where the blob was stored, or where the upstream has none (`bytes` is 0 then). */
    readonly failure: Error | undefined;
  };
  followerOpened: undefined;
  followerClosed: undefined;
  digestMismatch: { readonly upstream: string; readonly expected: string; readonly found: string };
  staleServed: {
    readonly upstream: string;
    readonly reason: "unreachable" | "limited" | "refreshing" | "offline" | "other";
  };
  /** Something is wrong with our disk or database; the text says what to do. */
  storageTrouble: { readonly message: string; readonly cause: unknown };
  /** The disk or the index failed somebody: every single time. */
  storageFailed: { readonly errno: string };
  /** The first failure of an incident: what is new is not stored until it is over. */
  storageDegraded: {
    readonly errno: string;
    readonly why: string;
    readonly advice: string;
    readonly cause: unknown;
  };
  /** The incident is over. */
  storageHealed: { readonly errno: string; readonly durationMs: number; readonly failures: number };
  /** The file of the index turned out to be damaged; told once. The next start rebuilds it. */
  indexDamaged: { readonly message: string; readonly cause: unknown };
  /** The index was damaged or gone, and another took its place; the text says what is lost and what to expect. */
  indexRecovered: { readonly message: string };
  /** Every file and every row of the index were compared. */
  indexReconciled: ReconciledFact;
  /** The file of an answer failed in the middle, and the rest of it comes from the upstream. */
  answerRescued: { readonly upstream: string; readonly digest: string; readonly atByte: number };
  /** Something left the store with all that nothing else names, to make room. */
  evicted: {
    readonly reason: Need;
    /** Where the bytes of `digest`, the first of them, came from. */
    readonly upstream: string;
    readonly digest: string;
    /** How it was tagged; not all, where there are many. */
    readonly names: readonly string[];
    readonly blobs: number;
    readonly bytes: number;
    /** Epoch milliseconds. */
    readonly lastUsedAt: number;
    readonly hits: number;
  };
  /** There is room again, or nothing more that may leave. */
  evictionEnded: {
    readonly reason: Need;
    readonly images: number;
    readonly blobs: number;
    readonly bytes: number;
    readonly durationMs: number;
  };
  /** The listener's certificates were read anew, and are in use. */
  certificatesLoaded: {
    readonly files: readonly string[] /** The first one's end, epoch ms. */;
    readonly expiresAt: number;
  };
  /** The listener's certificates are expired, or could not be read anew. */
  certificateTrouble: { readonly message: string };
  /** A process that answered clients is gone; another takes its place. */
  workerEnded: { readonly how: string; readonly replacedInMs: number };
  /** A run that fetches images ahead of demand is over, or was broken off. */
  warmed: {
    readonly images: number;
    readonly fetchedBytes: number;
    readonly storedBytes: number;
    readonly durationMs: number;
    /** The first ones of those that failed. */
    readonly failed: readonly { readonly reference: string; readonly kind: string; readonly message: string }[];
    readonly failedImages: number;
    readonly scheduled: boolean;
    readonly brokenOff: boolean;
  };
  /** Work behind an answer failed; no client saw it. */
  backgroundFailed: { readonly what: string; readonly cause: unknown };
}

export interface ReconciledFact {
  /** Files that were looked at. */
  readonly files: number;
  /** Files that had no row. */
  readonly added: number;
  readonly addedBytes: number;
  /** Manifests whose names are in the index now. */
  readonly linked: number;
  /** Rows without their file, gone with the tags and permissions that hung on them. */
  readonly dropped: number;
  readonly durationMs: number;
}

export interface AnsweredFact {
  readonly requestId: string;
  readonly method: string;
  /** The request path as it came, with no query. */
  readonly path: string;
  readonly remoteAddress: string | undefined;
  readonly userAgent: string | undefined;
  /** Undefined until routing has found one. */
  readonly upstream: string | undefined;
  readonly kind: RequestKind | "catalog" | "other";
  readonly repository: string | undefined;
  /** Tag or digest. */
  readonly reference: string | undefined;
  readonly status: number;
  /** Body bytes handed to the socket. */
  readonly bytes: number;
  /** From the request's headers to the answer's first byte; undefined where none left. */
  readonly firstByteMs: number | undefined;
  readonly totalMs: number;
  readonly cache: CacheLabel;
  /** True where the client left before the answer's end. */
  readonly aborted: boolean;
  /** Why the answer is an error, or why its body was cut. */
  readonly error: Error | undefined;
}
