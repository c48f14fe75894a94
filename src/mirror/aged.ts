/**
 * Small mutable answers (tag lists, referrers) in memory: bounded, coalesced, and aged by the same policy as tags.
 *
 * They are lost with the process, unlike tags: a list of what could be pulled is worth less than what it lists.
 */
import { LRUCache } from "lru-cache";
import type { Clock } from "../base/clock.ts";
import { isFailure } from "../base/failure.ts";
import type { Emitter } from "../base/notices.ts";
import { Singleflight, unlessAborted } from "../base/singleflight.ts";
import { placeKey } from "../meta/repositories.ts";
import type { Digest } from "../oci/digest.ts";
import { type Absence, isAbsence, type ListPage } from "../upstream/upstream.ts";
import type { Absences } from "./absences.ts";
import { type AbsentAnswer, absent } from "./absent.ts";
import type { Caller } from "./caller.ts";
import { judgeFreshness, mayServeStale } from "./freshness.ts";
import type { MirrorNotices } from "./notices.ts";
import type { Route } from "./route.ts";
import type { StaleReason, Verdict } from "./verdict.ts";

export interface AgedPage {
  readonly page: ListPage;
  readonly verdict: Verdict;
  readonly ageMs: number;
  readonly warning?: string;
}

/** Which list is wanted; `query` is the upstream's. */
export type ListQuestion =
  | { readonly of: "tags"; readonly query: string }
  | { readonly of: "referrers"; readonly digest: Digest; readonly query: string };

/** Lists as the upstream sent them, fresh enough. */
export interface Pages {
  /** @throws Failure where the upstream fails and nothing young enough is held. */
  find(route: Route, question: ListQuestion, caller: Caller): Promise<AgedPage | AbsentAnswer>;
}

export interface AgedParts {
  readonly absences: Absences;
  /** Aborted when the mirror stops. */
  readonly signal: AbortSignal;
  readonly clock: Clock;
  readonly notices: Emitter<MirrorNotices>;
}

const MEMORY_BYTES = 16 * 1024 * 1024;

export class AgedPages implements Pages {
  readonly #parts: AgedParts;
  readonly #pages = new LRUCache<string, { page: ListPage; checkedAt: number }>({
    maxSize: MEMORY_BYTES,
    sizeCalculation: (entry, key) => entry.page.bytes.length + key.length + 256,
  });
  readonly #running = new Singleflight<ListPage | Absence>();

  constructor(parts: AgedParts) {
    this.#parts = parts;
  }

  async find(route: Route, question: ListQuestion, caller: Caller): Promise<AgedPage | AbsentAnswer> {
    const { absences, clock } = this.#parts;
    const what = nameOf(question);
    const remembered = absences.find(route, what);
    if (remembered !== undefined) return absent(remembered, true);
    const policy = route.source.freshness;
    const held = this.#pages.get(`${placeKey(route)} ${what}`);
    const freshness = held === undefined ? "revalidate" : judgeFreshness(held.checkedAt, policy, clock.now());
    if (held !== undefined && freshness === "use") return this.#aged(route, held, undefined);
    const flight = this.#fetch(route, what, question);
    if (held !== undefined && freshness === "useAndRefresh") return this.#aged(route, held, "refreshing");
    try {
      const page = await unlessAborted(flight.outcome, caller.signal);
      if (isAbsence(page)) return absent(page, false);
      const verdict: Verdict = flight.joined
        ? { cache: "joined" }
        : { cache: "miss", stored: true, stale: held !== undefined };
      return { page, verdict, ageMs: 0 };
    } catch (error) {
      caller.signal.throwIfAborted();
      if (held === undefined || !isFailure(error) || !mayServeStale(held.checkedAt, policy, clock.now())) throw error;
      const reason = error.kind === "limited" || error.kind === "unreachable" ? error.kind : "other";
      return { ...this.#aged(route, held, reason), warning: error.message };
    }
  }

  /** Resolves when nothing runs any more. */
  settled(): Promise<void> {
    return this.#running.settled();
  }

  #fetch(route: Route, what: string, question: ListQuestion) {
    const key = `${placeKey(route)} ${what}`;
    return this.#running.run(key, async () => {
      const checkedAt = this.#parts.clock.now();
      const page = await this.#ask(route, question);
      if (isAbsence(page)) {
        this.#parts.absences.remember(route, what, page);
        this.#pages.delete(key);
      } else this.#pages.set(key, { page, checkedAt });
      return page;
    });
  }

  #ask(route: Route, question: ListQuestion): Promise<ListPage | Absence> {
    const { upstream } = route.source;
    const { signal } = this.#parts;
    return question.of === "tags"
      ? upstream.listTags(route.repository, question.query, signal)
      : upstream.listReferrers(route.repository, question.digest, question.query, signal);
  }

  #aged(route: Route, held: { page: ListPage; checkedAt: number }, stale: StaleReason | undefined): AgedPage {
    const ageMs = Math.max(0, this.#parts.clock.now() - held.checkedAt);
    const ttlMs = route.source.freshness.tags - ageMs;
    if (stale === undefined) return { page: held.page, verdict: { cache: "hit", ttlMs }, ageMs };
    this.#parts.notices.emit("staleServed", { upstream: route.upstream, reason: stale });
    return { page: held.page, verdict: { cache: "stale", ttlMs, reason: stale }, ageMs, warning: `stale: ${stale}` };
  }
}

/** The list's name inside its repository. */
function nameOf(question: ListQuestion): string {
  return question.of === "tags" ? `tags?${question.query}` : `referrers/${question.digest}?${question.query}`;
}
