/**
 * The front's answer to a request for a manifest: from what is stored where policy allows, through the origin where not.
 *
 * By digest nothing ever ages. By tag, freshness decides; an upstream in trouble never takes away what is stored and
 * still young enough.
 */
import type { Clock } from "../base/clock.ts";
import { isFailure } from "../base/failure.ts";
import type { Emitter } from "../base/notices.ts";
import { unlessAborted } from "../base/singleflight.ts";
import type { Graph } from "../meta/graph.ts";
import type { Inventory } from "../meta/inventory.ts";
import type { TagEntry, Tags } from "../meta/tags.ts";
import type { UseNotes } from "../meta/usage.ts";
import type { Digest } from "../oci/digest.ts";
import type { Reference, Tag } from "../oci/reference.ts";
import { type Absence, isAbsence } from "../upstream/upstream.ts";
import { type AbsentAnswer, absent } from "./absent.ts";
import type { Caller } from "./caller.ts";
import { judgeFreshness, mayServeStale } from "./freshness.ts";
import type { MirrorNotices } from "./notices.ts";
import type { Fetched, Origin, Sighting } from "./origin.ts";
import { withPatience } from "./patience.ts";
import { mayRead } from "./permission.ts";
import type { Route } from "./route.ts";
import type { Shelf, ShelvedManifest } from "./shelf.ts";
import { reasonOf, type StaleReason, type Verdict } from "./verdict.ts";

export interface ManifestAnswer {
  readonly digest: Digest;
  readonly mediaType: string;
  readonly sizeBytes: number;
  /** Undefined only where the content was not asked for. */
  readonly bytes: Buffer | undefined;
  readonly verdict: Verdict;
  /** Tags: milliseconds since the upstream last confirmed it. */
  readonly ageMs?: number;
  /** Why it may be out of date. */
  readonly warning?: string;
}

export interface ManifestParts {
  readonly tags: Pick<Tags, "find">;
  readonly graph: Pick<Graph, "findReachable">;
  readonly inventory: Pick<Inventory, "findUpstream">;
  readonly shelf: Pick<Shelf, "peek" | "find" | "link">;
  readonly origin: Origin;
  readonly usage: UseNotes;
  readonly clock: Clock;
  readonly notices: Emitter<MirrorNotices>;
  readonly offline: boolean;
}

export class Manifests {
  readonly #parts: ManifestParts;

  constructor(parts: ManifestParts) {
    this.#parts = parts;
  }

  /**
   * @param wantBody false for HEAD, which never makes the mirror download a manifest.
   * @throws Failure.
   */
  async answer(
    route: Route,
    reference: Reference,
    wantBody: boolean,
    caller: Caller,
  ): Promise<ManifestAnswer | AbsentAnswer> {
    const answer =
      reference.type === "digest"
        ? await this.#byDigest(route, reference.digest, caller)
        : await this.#byTag(route, reference.tag, wantBody, caller);
    if (wantBody && !("absence" in answer) && !wasStoredNow(answer.verdict)) this.#parts.usage.note(answer.digest);
    return answer;
  }

  /** The answer that takes no waiting and nobody's word: fresh, and in memory. Undefined where `answer` has to be asked. */
  peek(route: Route, tag: Tag, wantBody: boolean): ManifestAnswer | undefined {
    const { tags, shelf, origin, clock } = this.#parts;
    const entry = tags.find(route, tag);
    if (entry === undefined) return undefined;
    const now = clock.now();
    if (judgeFreshness(entry.checkedAt, route.source.freshness, now) !== "use") return undefined;
    const sighting = origin.findSighting(route, tag);
    if (sighting !== undefined && sighting.at > entry.checkedAt) return undefined;
    if (origin.findAbsence(route, tag) !== undefined) return undefined;
    const stored = shelf.peek(entry.digest);
    if (stored === undefined) return undefined;
    if (wantBody) this.#parts.usage.note(entry.digest);
    return this.#fresh(route, entry, stored, now);
  }

  async #byDigest(route: Route, digest: Digest, caller: Caller): Promise<ManifestAnswer | AbsentAnswer> {
    const { graph, inventory, shelf, origin } = this.#parts;
    if (mayRead(graph.findReachable(route, digest), inventory.findUpstream(digest), route.upstream)) {
      const stored = shelf.peek(digest) ?? (await shelf.find(digest));
      if (stored !== undefined) {
        shelf.link(route, stored, false);
        return full(stored, { cache: "hit" });
      }
    }
    const remembered = origin.findAbsence(route, digest);
    if (remembered !== undefined) return absent(remembered, true);
    const flight = origin.fetchManifest(route, digest);
    const fetched = await unlessAborted(flight.outcome, caller.signal);
    return isAbsence(fetched)
      ? absent(fetched, false)
      : full(fetched.manifest, verdictOf(fetched, flight.joined, false));
  }

  async #byTag(route: Route, tag: Tag, wantBody: boolean, caller: Caller): Promise<ManifestAnswer | AbsentAnswer> {
    const { tags, shelf, origin, clock, offline } = this.#parts;
    const remembered = origin.findAbsence(route, tag);
    if (remembered !== undefined) return absent(remembered, true);
    const entry = tags.find(route, tag);
    const sighting = origin.findSighting(route, tag);
    const newer = sighting !== undefined && sighting.at > (entry?.checkedAt ?? 0) ? sighting : undefined;
    if (newer !== undefined && !wantBody) return this.#seen(route, newer, { cache: "hit" });
    const stored = entry === undefined ? undefined : (shelf.peek(entry.digest) ?? (await shelf.find(entry.digest)));
    if (entry === undefined || stored === undefined) {
      return await unlessAborted(this.#ask(route, tag, wantBody, undefined), caller.signal);
    }
    // What was seen since then has to be fetched before it can be served.
    const judged = judgeFreshness(entry.checkedAt, route.source.freshness, clock.now());
    const freshness = newer === undefined ? judged : "revalidate";
    const trouble = origin.findTrouble(route, tag);
    if (offline && freshness !== "use") return this.#stale(route, entry, stored, "offline");
    switch (freshness) {
      case "use":
        return this.#fresh(route, entry, stored, clock.now());
      case "useAndRefresh":
        if (trouble === undefined) this.#refreshBehind(route, tag);
        return this.#stale(route, entry, stored, trouble === undefined ? "refreshing" : reasonOf(trouble));
      case "revalidate":
        if (trouble !== undefined && mayServeStale(entry.checkedAt, route.source.freshness, clock.now())) {
          return this.#stale(route, entry, stored, reasonOf(trouble), trouble.message);
        }
        return await this.#revalidate(route, tag, entry, stored, wantBody, caller);
    }
  }

  /**
   * Asks the upstream; whoever only wants to know what the tag names costs it no pull.
   * @param stored what the tag named when it was last asked for, if that is stored.
   */
  async #ask(
    route: Route,
    tag: Tag,
    wantBody: boolean,
    stored: ShelvedManifest | undefined,
  ): Promise<ManifestAnswer | AbsentAnswer> {
    const { origin } = this.#parts;
    const stale = stored !== undefined;
    if (!wantBody) {
      const flight = origin.sightTag(route, tag);
      const sighting = await flight.outcome;
      if (sighting !== undefined && isAbsence(sighting)) return absent(sighting, false);
      if (sighting !== undefined && sighting.digest !== stored?.digest) {
        return this.#seen(
          route,
          sighting,
          flight.joined ? { cache: "joined" } : { cache: "miss", stored: false, stale },
        );
      }
    }
    const flight = origin.refreshTag(route, tag);
    const fetched = await flight.outcome;
    return this.#fetched(fetched, flight.joined, stale);
  }

  async #revalidate(
    route: Route,
    tag: Tag,
    entry: TagEntry,
    stored: ShelvedManifest,
    wantBody: boolean,
    caller: Caller,
  ): Promise<ManifestAnswer | AbsentAnswer> {
    const { clock } = this.#parts;
    const staleAllowed = mayServeStale(entry.checkedAt, route.source.freshness, clock.now());
    try {
      const asked = this.#ask(route, tag, wantBody, stored);
      if (!staleAllowed) return await unlessAborted(asked, caller.signal);
      const answer = await withPatience(clock, asked, caller);
      return answer ?? this.#stale(route, entry, stored, "unreachable");
    } catch (error) {
      caller.signal.throwIfAborted();
      if (!staleAllowed || !isFailure(error)) throw error;
      return this.#stale(route, entry, stored, reasonOf(error), error.message);
    }
  }

  #refreshBehind(route: Route, tag: Tag): void {
    const flight = this.#parts.origin.refreshTag(route, tag);
    flight.outcome.catch((cause: unknown) => {
      // Whoever began it tells. That pulls are saved is no failure: nothing was asked.
      if (flight.joined || (isFailure(cause, "limited") && cause.upstreamStatus === undefined)) return;
      this.#parts.notices.emit("backgroundFailed", {
        what: `refresh of ${route.upstream}/${route.repository}:${tag}`,
        cause,
      });
    });
  }

  #fetched(fetched: Fetched | Absence, joined: boolean, stale: boolean): ManifestAnswer | AbsentAnswer {
    if (isAbsence(fetched)) return absent(fetched, false);
    const ageMs = Math.max(0, this.#parts.clock.now() - fetched.checkedAt);
    return { ...full(fetched.manifest, verdictOf(fetched, joined, stale)), ageMs };
  }

  #fresh(route: Route, entry: TagEntry, stored: ShelvedManifest, now: number): ManifestAnswer {
    const ageMs = now - entry.checkedAt;
    return { ...full(stored, { cache: "hit", ttlMs: route.source.freshness.tags - ageMs }), ageMs };
  }

  #seen(route: Route, sighting: Sighting, verdict: Verdict): ManifestAnswer {
    const ageMs = Math.max(0, this.#parts.clock.now() - sighting.at);
    const { digest, mediaType, sizeBytes } = sighting;
    const timed: Verdict =
      verdict.cache === "hit" ? { ...verdict, ttlMs: route.source.freshness.tags - ageMs } : verdict;
    return { digest, mediaType, sizeBytes, bytes: undefined, verdict: timed, ageMs };
  }

  #stale(route: Route, entry: TagEntry, stored: ShelvedManifest, reason: StaleReason, why?: string): ManifestAnswer {
    this.#parts.notices.emit("staleServed", { upstream: route.upstream, reason });
    const ageMs = Math.max(0, this.#parts.clock.now() - entry.checkedAt);
    const verdict: Verdict = { cache: "stale", ttlMs: route.source.freshness.tags - ageMs, reason };
    return { ...full(stored, verdict), ageMs, warning: why ?? STALE_TEXT[reason] };
  }
}

const STALE_TEXT: Record<StaleReason, string> = {
  unreachable: "the upstream did not answer in time",
  limited: "the upstream's rate limit is reached",
  refreshing: "being refreshed",
  offline: "the mirror is offline",
  other: "the upstream could not be asked",
};

function verdictOf(fetched: Fetched, joined: boolean, stale: boolean): Verdict {
  if (!fetched.fetched && stale) return { cache: "revalidated" };
  if (!fetched.kept) return { cache: "bypass", why: "storage" };
  return joined || fetched.joined ? { cache: "joined" } : { cache: "miss", stored: fetched.fetched, stale };
}

/** That is its first use, and is written down with it. */
function wasStoredNow(verdict: Verdict): boolean {
  return verdict.cache === "miss" && verdict.stored;
}

function full(manifest: ShelvedManifest, verdict: Verdict): ManifestAnswer {
  const { digest, mediaType, bytes } = manifest;
  return { digest, mediaType, sizeBytes: bytes.length, bytes, verdict };
}
