/**
 * The port to a registry we pull from: one method per thing the mirror ever asks, and nothing that speaks of HTTP
 * statuses. What an upstream does not have is a value (`Absence`); what goes wrong is a `Failure`.
 *
 * Bodies are handed over unverified: who stores or serves them verifies them. Every question says how urgent it is; what
 * says nothing is somebody's miss.
 */
import type { Flow } from "../base/flow.ts";
import type { Digest } from "../oci/digest.ts";
import type { Reference, Repository } from "../oci/reference.ts";
import type { BudgetView } from "./limits/budget.ts";
import type { Urgency } from "./urgency.ts";

/**
 * The upstream answered, and the answer is no. `denied` is 401 or 403 to an anonymous request, or to a token that was
 * granted less than was asked: registries answer so for what does not exist as well.
 */
export interface Absence {
  readonly absent: "unknown" | "denied";
}

export interface ManifestHead {
  /** From `Docker-Content-Digest`; undefined where the registry does not send one. */
  readonly digest: Digest | undefined;
  /** The `Content-Type` without parameters, lower case; undefined where absent or malformed. */
  readonly mediaType: string | undefined;
  /** From `Content-Length`. */
  readonly sizeBytes: number | undefined;
}

export interface ManifestBody {
  readonly bytes: Buffer;
  /** The `Content-Type` without parameters, lower case; undefined where absent or malformed. */
  readonly mediaType: string | undefined;
  /** From `Docker-Content-Digest`, unverified. */
  readonly digest: Digest | undefined;
}

export interface BlobHead {
  /** From `Content-Length`. */
  readonly sizeBytes: number | undefined;
}

export interface BlobBody {
  /** The offset of the body's first byte: what was asked for, or 0 where the upstream ignored the range. */
  readonly startByte: number;
  /** How many bytes the body should have, where the upstream said so. */
  readonly bodyBytes: number | undefined;
  /** Size of the whole blob, where the upstream said so (`Content-Length` of a 200, `Content-Range` of a 206). */
  readonly sizeBytes: number | undefined;
  /**
   * Whoever receives it must pour it to its end or destroy it: it holds a connection. Its errors are `Failure`s, or what
   * the sink threw. It never brings more than `bodyBytes`, and fewer only with an error.
   */
  readonly body: Flow;
}

/** A page of `tags/list` or of the referrers index, as the upstream sent it. */
export interface ListPage {
  readonly bytes: Buffer;
  readonly mediaType: string | undefined;
  /** Query of the next page (`n=…&last=…`), taken from the `Link` header with `rel="next"`; undefined on the last page. */
  readonly nextQuery: string | undefined;
  /** From `OCI-Filters-Applied`. */
  readonly filtersApplied: string | undefined;
}

export interface Upstream {
  /** The key in the configuration and in image references: `docker.io`. */
  readonly name: string;

  /** HEAD: costs no pull on any registry known to count pulls. */
  headManifest(
    repository: Repository,
    reference: Reference,
    signal: AbortSignal,
    urgency?: Urgency,
  ): Promise<ManifestHead | Absence>;
  /** @throws Failure `corrupt` where the body is larger than `MAX_MANIFEST_BYTES`. */
  getManifest(
    repository: Repository,
    reference: Reference,
    signal: AbortSignal,
    urgency?: Urgency,
  ): Promise<ManifestBody | Absence>;
  headBlob(repository: Repository, digest: Digest, signal: AbortSignal, urgency?: Urgency): Promise<BlobHead | Absence>;
  /**
   * Opens the blob, from `range.start` to `range.end` inclusive or to its end. The signal governs the whole body.
   */
  openBlob(
    repository: Repository,
    digest: Digest,
    range: { readonly start: number; readonly end?: number } | undefined,
    signal: AbortSignal,
    urgency?: Urgency,
  ): Promise<BlobBody | Absence>;
  /** `query` is sent as it is (`n=…&last=…`), without the question mark. */
  listTags(repository: Repository, query: string, signal: AbortSignal, urgency?: Urgency): Promise<ListPage | Absence>;
  listReferrers(
    repository: Repository,
    digest: Digest,
    query: string,
    signal: AbortSignal,
    urgency?: Urgency,
  ): Promise<ListPage | Absence>;

  /** What may still be asked for of this repository; undefined where the upstream is not asked at all. */
  budget(repository: Repository): BudgetView | undefined;

  /** Ends all connections; running requests fail. */
  close(): Promise<void>;
}

/** What registries agree on (distribution, ACR, containers/image): 4 MiB. */
export const MAX_MANIFEST_BYTES = 4 * 1024 * 1024;

export function isAbsence(answer: object): answer is Absence {
  return "absent" in answer;
}
