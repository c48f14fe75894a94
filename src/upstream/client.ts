/**
 * The `Upstream` port over HTTP: one method per question, each a URL, an `Accept`, a limit, and what is taken from the
 * answer.
 *
 * Bodies leave unverified, bounded where they are held in memory, and never shorter than announced without an error.
 */
import { Failure } from "../base/failure.ts";
import type { Flow } from "../base/flow.ts";
import { type Digest, isDigest } from "../oci/digest.ts";
import { ACCEPT_MANIFESTS, OCI_INDEX } from "../oci/mediatypes.ts";
import { type Reference, type Repository, referenceText } from "../oci/reference.ts";
import { parseEndpoint, urlBelow } from "./endpoints/endpoint.ts";
import { type Call, Conversation, codingOfAnswer, type UpstreamSurroundings } from "./exchange/conversation.ts";
import { findNextQuery } from "./exchange/link.ts";
import { contentLengthOf, extentOf, mediaTypeOf } from "./exchange/outcome.ts";
import type { BudgetView } from "./limits/budget.ts";
import { Slots } from "./limits/slots.ts";
import { type Answer, headerOf } from "./network/transport.ts";
import { createOfflineUpstream } from "./offline.ts";
import type { UpstreamOptions } from "./options.ts";
import { findKnownAt } from "./registries/known.ts";
import {
  type Absence,
  type BlobBody,
  type BlobHead,
  isAbsence,
  type ListPage,
  MAX_MANIFEST_BYTES,
  type ManifestBody,
  type ManifestHead,
  type Upstream,
} from "./upstream.ts";
import type { Urgency } from "./urgency.ts";

export type { UpstreamSurroundings } from "./exchange/conversation.ts";

/** In the line for a blob's connection: a client waits for headers for 30 s, and it may have waited for something else before. */
const BLOB_PATIENCE_MS = { miss: 20_000, refresh: 10_000 };

export const MAX_LIST_BYTES = 4 * 1024 * 1024;

/** Opens no connection yet. @throws Failure `invalid` for a bad `url` or an unreadable TLS file. */
export function createUpstream(name: string, options: UpstreamOptions, surroundings: UpstreamSurroundings): Upstream {
  return options.offline ? createOfflineUpstream(name) : new HttpUpstream(name, options, surroundings);
}

class HttpUpstream implements Upstream {
  readonly name: string;
  readonly #conversation: Conversation;
  readonly #blobSlots: Slots;
  readonly #hasReferrers: boolean;

  constructor(name: string, options: UpstreamOptions, surroundings: UpstreamSurroundings) {
    this.name = name;
    const first = parseEndpoint(name, options.url);
    const others = (options.endpoints ?? []).map((url) => parseEndpoint(name, url));
    this.#conversation = new Conversation(name, [first, ...others], options, surroundings);
    const { clock } = surroundings;
    this.#blobSlots = new Slots(options.limits.connections, {
      ...{ upstream: name, setting: "connections", clock, patienceMs: BLOB_PATIENCE_MS },
    });
    this.#hasReferrers = findKnownAt(first)?.referrers !== false;
  }

  async headManifest(
    repository: Repository,
    reference: Reference,
    signal: AbortSignal,
    urgency: Urgency = "miss",
  ): Promise<ManifestHead | Absence> {
    const call = this.#manifest("HEAD", repository, reference, urgency);
    return await this.#conversation.head(
      call,
      signal,
      (answer): ManifestHead => ({
        digest: digestOfHeader(answer),
        mediaType: mediaTypeOf(this.name, answer),
        sizeBytes: sizeOf(answer),
      }),
    );
  }

  async getManifest(
    repository: Repository,
    reference: Reference,
    signal: AbortSignal,
    urgency: Urgency = "miss",
  ): Promise<ManifestBody | Absence> {
    const call = this.#manifest("GET", repository, reference, urgency);
    return await this.#conversation.document(
      call,
      MAX_MANIFEST_BYTES,
      signal,
      (bytes, answer, mediaType): ManifestBody => ({ bytes, mediaType, digest: digestOfHeader(answer) }),
    );
  }

  async headBlob(
    repository: Repository,
    digest: Digest,
    signal: AbortSignal,
    urgency: Urgency = "miss",
  ): Promise<BlobHead | Absence> {
    const call = { ...this.#blob(repository, digest, urgency), method: "HEAD", lane: "small", wanted: [200] } as const;
    return await this.#conversation.head(call, signal, (answer): BlobHead => ({ sizeBytes: sizeOf(answer) }));
  }

  async openBlob(
    repository: Repository,
    digest: Digest,
    range: { readonly start: number; readonly end?: number } | undefined,
    signal: AbortSignal,
    urgency: Urgency = "miss",
  ): Promise<BlobBody | Absence> {
    const bytes = range === undefined ? undefined : `bytes=${range.start}-${range.end ?? ""}`;
    const call = { ...this.#blob(repository, digest, urgency), range: bytes };
    const release = await this.#blobSlots.take(signal, { urgency, key: repository });
    try {
      const read = (answer: Answer, open: (bytes: number | undefined) => Flow): BlobBody => {
        const extent = extentOf(this.name, answer, range);
        if (codingOfAnswer(answer) === "identity") return { ...extent, body: open(extent.bodyBytes) };
        if (answer.status === 206) throw new Failure("corrupt", `${this.name} sent a range of an encoded body`);
        return {
          startByte: 0,
          bodyBytes: undefined,
          sizeBytes: undefined,
          body: open(contentLengthOf(answer)),
        };
      };
      const opened = await this.#conversation.stream(call, signal, read, release);
      if (isAbsence(opened)) release();
      return opened;
    } catch (error) {
      release();
      throw error;
    }
  }

  async listTags(
    repository: Repository,
    query: string,
    signal: AbortSignal,
    urgency: Urgency = "miss",
  ): Promise<ListPage | Absence> {
    const at = (endpoint: URL) => urlBelow(endpoint, repository, "tags/list", query);
    return await this.#list({ kind: "tags", at, repository, accept: "application/json", urgency }, signal);
  }

  async listReferrers(
    repository: Repository,
    digest: Digest,
    query: string,
    signal: AbortSignal,
    urgency: Urgency = "miss",
  ): Promise<ListPage | Absence> {
    if (!this.#hasReferrers) return { absent: "unknown" };
    const at = (endpoint: URL) => urlBelow(endpoint, repository, `referrers/${digest}`, query);
    return await this.#list({ kind: "referrers", at, repository, accept: OCI_INDEX, urgency }, signal);
  }

  budget(repository: Repository): BudgetView {
    return this.#conversation.budget(repository);
  }

  async close(): Promise<void> {
    await this.#conversation.close();
  }

  #manifest(method: "GET" | "HEAD", repository: Repository, reference: Reference, urgency: Urgency): Call {
    const at = (endpoint: URL) => urlBelow(endpoint, repository, `manifests/${referenceText(reference)}`);
    const accept = ACCEPT_MANIFESTS;
    return { kind: "manifest", method, lane: "small", at, repository, accept, wanted: [200], urgency };
  }

  #blob(repository: Repository, digest: Digest, urgency: Urgency): Call {
    const at = (endpoint: URL) => urlBelow(endpoint, repository, `blobs/${digest}`);
    return { kind: "blob", method: "GET", lane: "blob", at, repository, accept: "*/*", wanted: [200, 206], urgency };
  }

  #list(
    part: Pick<Call, "kind" | "at" | "repository" | "accept" | "urgency">,
    signal: AbortSignal,
  ): Promise<ListPage | Absence> {
    const call: Call = { ...part, method: "GET", lane: "small", wanted: [200] };
    return this.#conversation.document(
      call,
      MAX_LIST_BYTES,
      signal,
      (bytes, answer, mediaType): ListPage => ({
        bytes,
        mediaType,
        nextQuery: findNextQuery(answer.headers.link),
        filtersApplied: headerOf(answer, "oci-filters-applied"),
      }),
    );
  }
}

function digestOfHeader(answer: Answer): Digest | undefined {
  const text = headerOf(answer, "docker-content-digest")?.trim();
  return text !== undefined && isDigest(text) ? text : undefined;
}

/** The length of an encoded body says nothing of the content's. */
function sizeOf(answer: Answer): number | undefined {
  return codingOfAnswer(answer) === "identity" ? contentLengthOf(answer) : undefined;
}
