/**
 * Tag lists, referrers, and the catalogue of what is cached.
 *
 * A list comes from the upstream, checked and written anew; paging stays the upstream's, its query handed on. Where a
 * registry has no referrers API, the tag schema of the specification is tried (spec.md, "Referrers Tag Schema"). Offline,
 * lists are made of what is stored; with an upstream in trouble too, where something is: an empty list of referrers would
 * say that nothing is signed.
 */
import { Failure, isFailure } from "../base/failure.ts";
import type { Graph } from "../meta/graph.ts";
import type { Inventory } from "../meta/inventory.ts";
import type { Repositories } from "../meta/repositories.ts";
import type { Tags } from "../meta/tags.ts";
import { algorithmOf, type Digest, hexOf } from "../oci/digest.ts";
import { OCI_INDEX } from "../oci/mediatypes.ts";
import { parseTag } from "../oci/reference.ts";
import type { AbsentAnswer } from "./absent.ts";
import type { Pages } from "./aged.ts";
import type { Caller } from "./caller.ts";
import type { Manifests } from "./manifests.ts";
import { mayRead } from "./permission.ts";
import { findReferrers, type ReferrerParts, referrerEntry } from "./referrers.ts";
import type { Route } from "./route.ts";
import { reasonOf, type StaleReason, type Verdict } from "./verdict.ts";

export interface ListAnswer {
  readonly body: string;
  readonly mediaType: string;
  readonly verdict: Verdict;
  /** Query of the next page, if there is one. */
  readonly nextQuery: string | undefined;
  readonly ageMs?: number;
  readonly warning?: string;
  readonly filtersApplied?: string;
}

export interface ListingParts extends ReferrerParts {
  readonly pages: Pages;
  readonly manifests: Manifests;
  readonly tags: Pick<Tags, "namesOf" | "hasAny">;
  readonly repositories: Pick<Repositories, "list">;
  readonly graph: Pick<Graph, "findReachable">;
  readonly inventory: Pick<Inventory, "findUpstream" | "findMediaType" | "findSize">;
  readonly offline: boolean;
  /** Whether it is still asked for by this name. */
  readonly isServed: (upstream: string) => boolean;
}

/** `n` and `last` of a listing request; anything else the upstream's `Link` put into the query is in `opaque`. */
export interface Paging {
  readonly n: number | undefined;
  readonly last: string | undefined;
  readonly opaque: string;
}

/** More than this a page is asked of no upstream: ECR refuses it. */
const MAX_UPSTREAM_PAGE = 1000;
const MAX_CATALOG_PAGE = 10_000;

export class Listings {
  readonly #parts: ListingParts;

  constructor(parts: ListingParts) {
    this.#parts = parts;
  }

  /** @throws Failure. */
  async tags(route: Route, paging: Paging, caller: Caller): Promise<ListAnswer | AbsentAnswer> {
    if (paging.n === 0) return tagList(route, [], { cache: "none" }, undefined);
    if (this.#parts.offline) return this.#tagsOffline(route, paging);
    const query = upstreamQuery(paging);
    try {
      const spare = this.#parts.tags.hasAny(route);
      const found = await this.#parts.pages.find(route, { of: "tags", query, spare }, caller);
      if ("absence" in found) return found;
      const tags = strings(parseObject(found.page.bytes, "tag list")["tags"]);
      return { ...tagList(route, tags, found.verdict, found.page.nextQuery), ...ageOf(found) };
    } catch (error) {
      const known = isFailure(error, "unreachable", "limited", "refused") ? this.#parts.tags.namesOf(route) : [];
      if (known.length === 0) throw error;
      return {
        ...knownTags(route, known, paging, "unreachable"),
        warning: "the upstream could not be asked: only the tags cached here are listed",
      };
    }
  }

  /** @throws Failure. */
  async referrers(
    route: Route,
    digest: Digest,
    artifactType: string | undefined,
    paging: Paging,
    caller: Caller,
  ): Promise<ListAnswer | AbsentAnswer> {
    if (this.#parts.offline) return await this.#referrersOffline(route, digest, artifactType);
    try {
      return await this.#referrersUpstream(route, digest, artifactType, paging, caller);
    } catch (error) {
      caller.signal.throwIfAborted();
      if (!isFailure(error, "unreachable", "limited", "refused")) throw error;
      const stored = await this.#storedReferrers(route, digest, artifactType);
      // None is no answer: there may be some that nobody has asked for yet.
      if (stored === undefined) throw error;
      const warning = "the upstream could not be asked: only the referrers stored here are listed";
      return { ...stored, verdict: { cache: "stale", ttlMs: 0, reason: reasonOf(error) }, warning };
    }
  }

  async #referrersUpstream(
    route: Route,
    digest: Digest,
    artifactType: string | undefined,
    paging: Paging,
    caller: Caller,
  ): Promise<ListAnswer | AbsentAnswer> {
    const query = upstreamQuery(paging);
    const found = await this.#parts.pages.find(route, { of: "referrers", digest, query }, caller);
    if (!("absence" in found)) {
      const list = referrersIndex(found.page.bytes, artifactType);
      return { ...list, verdict: found.verdict, nextQuery: found.page.nextQuery, ...ageOf(found) };
    }
    const tag = parseTag(`${algorithmOf(digest).slice(0, 32)}-${hexOf(digest).slice(0, 64)}`);
    const answer = await this.#parts.manifests.answer(route, { type: "tag", tag }, true, caller);
    if ("absence" in answer) return answer;
    const list = referrersIndex(answer.bytes ?? Buffer.alloc(0), artifactType);
    return { ...list, verdict: answer.verdict, nextQuery: undefined, ...ageOf(answer) };
  }

  /**
   * What is cached, as names that this mirror answers to.
   * @param upstream only this one's repositories, under their bare names; undefined for all, with the registry in front.
   */
  catalog(upstream: string | undefined, paging: Paging): ListAnswer {
    const names = this.#parts.repositories
      .list()
      .filter((place) => (upstream === undefined ? this.#parts.isServed(place.upstream) : place.upstream === upstream))
      .map((place) => (upstream === undefined ? `${place.upstream}/${place.repository}` : place.repository))
      .sort();
    const { page, next } = cut(names, { ...paging, n: Math.min(paging.n ?? 1000, MAX_CATALOG_PAGE) });
    const body = JSON.stringify({ repositories: page });
    return { body, mediaType: "application/json", verdict: { cache: "hit" }, nextQuery: next };
  }

  #tagsOffline(route: Route, paging: Paging): ListAnswer {
    const known = this.#parts.tags.namesOf(route);
    if (known.length === 0) {
      throw new Failure("unknown", `offline: no tag of ${route.upstream}/${route.repository} is stored here`);
    }
    return {
      ...knownTags(route, known, paging, "offline"),
      warning: "the mirror is offline: only tags stored here are listed",
    };
  }

  /** Of what is stored all is listed, and it may be nothing: there is nobody who knows of more. */
  async #referrersOffline(route: Route, digest: Digest, artifactType: string | undefined): Promise<ListAnswer> {
    const { graph, inventory } = this.#parts;
    const here = mayRead(graph.findReachable(route, digest), inventory.findUpstream(digest), route.upstream);
    const stored = await this.#storedReferrers(route, digest, artifactType);
    if (stored === undefined && !(here && inventory.findSize(digest) !== undefined)) {
      const what = `${route.upstream}/${route.repository}@${digest}`;
      throw new Failure("unknown", `offline: ${what} is not stored here`, { code: "MANIFEST_UNKNOWN" });
    }
    return {
      ...(stored ?? filteredIndex({}, [], artifactType)),
      verdict: { cache: "stale", ttlMs: 0, reason: "offline" },
      nextQuery: undefined,
      warning: "the mirror is offline: only referrers stored here are listed",
    };
  }

  async #storedReferrers(route: Route, digest: Digest, artifactType: string | undefined) {
    const found = await findReferrers(this.#parts, route, digest);
    if (found.length === 0) return undefined;
    return { ...filteredIndex({}, found.map(referrerEntry), artifactType), nextQuery: undefined };
  }
}

function knownTags(route: Route, known: string[], paging: Paging, reason: StaleReason): ListAnswer {
  const { page, next } = cut(known, paging);
  return tagList(route, page, { cache: "stale", ttlMs: 0, reason }, next);
}

function tagList(route: Route, tags: string[], verdict: Verdict, nextQuery: string | undefined): ListAnswer {
  const body = JSON.stringify({ name: route.repository, tags });
  return { body, mediaType: "application/json", verdict, nextQuery };
}

function referrersIndex(bytes: Buffer, artifactType: string | undefined) {
  const index = parseObject(bytes, "referrers list");
  const manifests = index["manifests"];
  if (!Array.isArray(manifests)) throw new Failure("corrupt", "the upstream's referrers list is no index");
  return filteredIndex(index, manifests, artifactType);
}

function filteredIndex(index: object, manifests: readonly unknown[], artifactType: string | undefined) {
  const kept =
    artifactType === undefined
      ? manifests
      : manifests.filter((entry: unknown) => isObject(entry) && entry["artifactType"] === artifactType);
  const body = JSON.stringify({ schemaVersion: 2, ...index, mediaType: OCI_INDEX, manifests: kept });
  return { body, mediaType: OCI_INDEX, ...(artifactType === undefined ? {} : { filtersApplied: "artifactType" }) };
}

function cut(sorted: readonly string[], paging: Paging): { page: string[]; next: string | undefined } {
  const { last, n } = paging;
  const rest = last === undefined ? sorted : sorted.filter((name) => name > last);
  const page = rest.slice(0, n);
  const end = page.at(-1);
  const more = n !== undefined && n > 0 && rest.length > n && end !== undefined;
  return { page, next: more ? new URLSearchParams({ n: String(n), last: end }).toString() : undefined };
}

function upstreamQuery(paging: Paging): string {
  const query = new URLSearchParams(paging.opaque);
  if (paging.n !== undefined) query.set("n", String(Math.min(paging.n, MAX_UPSTREAM_PAGE)));
  if (paging.last !== undefined) query.set("last", paging.last);
  return query.toString();
}

function ageOf(found: { readonly ageMs?: number; readonly warning?: string }) {
  return {
    ...(found.ageMs === undefined ? {} : { ageMs: found.ageMs }),
    ...(found.warning === undefined ? {} : { warning: found.warning }),
  };
}

function parseObject(bytes: Buffer, what: string): Record<string, unknown> {
  let value: unknown;
  try {
    value = JSON.parse(bytes.toString("utf8"));
  } catch (cause) {
    throw new Failure("corrupt", `the upstream's ${what} is not JSON`, { cause });
  }
  if (!isObject(value)) throw new Failure("corrupt", `the upstream's ${what} is not a JSON object`);
  return value;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function strings(value: unknown): string[] {
  return Array.isArray(value) ? value.filter((entry): entry is string => typeof entry === "string") : [];
}
