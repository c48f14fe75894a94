/**
 * Small mutable answers (tag lists, referrers) in memory: bounded, coalesced, and aged by the same policy as tags.
 *
 * They are lost with the process, unlike tags: a list of what could be pulled is worth less than what it lists.
 */
import { LRUCache } from "lru-cache";
import { atMost } from "../base/bounded.ts";
import type { Clock } from "../base/clock.ts";
import { type Failure, isFailure } from "../base/failure.ts";
import type { Emitter } from "../base/notices.ts";
import { Singleflight, unlessAborted } from "../base/singleflight.ts";
import { placeKey } from "../meta/repositories.ts";
import type { Digest } from "../oci/digest.ts";
import { type Absence, isAbsence, type ListPage } from "../upstream/upstream.ts";
import type { Urgency } from "../upstream/urgency.ts";
import type { Absences } from "./absences.ts";
import { type AbsentAnswer, absent } from "./absent.ts";
import type { Caller } from "./caller.ts";
import { judgeFreshness, mayServeStale } from "./freshness.ts";
import type { MirrorNotices } from "./notices.ts";
import { PATIENCE_MS, silenceOf, withPatience } from "./patience.ts";
import type { Route } from "./route.ts";
import { type RememberedTrouble, restMs } from "./troubles.ts";
import { reasonOf, type StaleReason, type Verdict } from "./verdict.ts";

export interface AgedPage {
  readonly page: ListPage;
  readonly verdict: Verdict;
  readonly ageMs: number;
  readonly warning?: string;
}

/**
 * Which list is wanted; `query` is the upstream's. `spare`: whoever asks has something else to give, and waits as one does
 * who has an old list.
 */
export type ListQuestion =
  | { readonly of: "tags"; readonly query: string; readonly spare?: boolean }
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

interface Held {
  readonly page: ListPage;
  readonly checkedAt: number;
}

const MEMORY_BYTES = 16 * 1024 * 1024;
const MAX_TROUBLES = 5000;

export class AgedPages implements Pages {
  readonly #parts: AgedParts;
  readonly #pages = new LRUCache<string, Held>({
    maxSize: MEMORY_BYTES,
    sizeCalculation: (entry, key) => entry.page.bytes.length + key.length + 256,
  });
  /** How the upstream failed just now, so that it is not asked again with every request. */
  readonly #troubles = new LRUCache<string, RememberedTrouble>(atMost(MAX_TROUBLES));
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
    const servable = held !== undefined && mayServeStale(held.checkedAt, policy, clock.now()) ? held : undefined;
    const spare = question.of === "tags" && question.spare === true;
    const waits = servable === undefined && !spare;
    const trouble = waits ? undefined : this.#findTrouble(route, what);
    if (trouble !== undefined) {
      if (servable === undefined) throw trouble;
      return this.#stale(route, servable, trouble);
    }
    const flight = this.#fetch(route, what, question, waits ? "miss" : "refresh");
    if (held !== undefined && freshness === "useAndRefresh") return this.#aged(route, held, "refreshing");
    try {
      if (waits) return this.#fetched(await unlessAborted(flight.outcome, caller.signal), flight, held);
      const page = await withPatience(clock, flight.outcome, caller);
      if (page !== undefined) return this.#fetched(page, flight, held);
      if (servable !== undefined) return this.#aged(route, servable, "unreachable");
      throw silenceOf(route.upstream);
    } catch (error) {
      caller.signal.throwIfAborted();
      if (servable === undefined || !isFailure(error)) throw error;
      return this.#stale(route, servable, error);
    }
  }

  /** Resolves when nothing runs any more. */
  settled(): Promise<void> {
    return this.#running.settled();
  }

  #fetched(page: ListPage | Absence, flight: { readonly joined: boolean }, held: Held | undefined) {
    if (isAbsence(page)) return absent(page, false);
    const verdict: Verdict = flight.joined
      ? { cache: "joined" }
      : { cache: "miss", stored: true, stale: held !== undefined };
    return { page, verdict, ageMs: 0 };
  }

  /** Why the upstream is not asked for what can be served stale. */
  #findTrouble(route: Route, what: string): Failure | undefined {
    const now = this.#parts.clock.now();
    const trouble = this.#troubles.get(`${placeKey(route)} ${what}`);
    if (trouble === undefined) return undefined;
    const leftMs = trouble.until - now;
    // More than it ever was: the clock was set back.
    return leftMs > 0 && leftMs <= restMs(trouble.failure) ? trouble.failure : undefined;
  }

  #stale(route: Route, held: Held, failure: Failure): AgedPage {
    return { ...this.#aged(route, held, reasonOf(failure)), warning: failure.message };
  }

  #fetch(route: Route, what: string, question: ListQuestion, urgency: Urgency) {
    const key = `${placeKey(route)} ${what}`;
    return this.#running.run(key, async () => {
      const { clock } = this.#parts;
      const checkedAt = clock.now();
      const remember = (failure: Failure) => this.#troubles.set(key, { failure, until: clock.now() + restMs(failure) });
      // Of those who come while it is silent only the first waits.
      const cancel = clock.after(PATIENCE_MS, () => remember(silenceOf(route.upstream)));
      const page = await this.#ask(route, question, urgency)
        .catch((error: unknown) => {
          if (isFailure(error)) remember(error);
          throw error;
        })
        .finally(cancel);
      this.#troubles.delete(key);
      if (isAbsence(page)) {
        this.#parts.absences.remember(route, what, page);
        this.#pages.delete(key);
      } else this.#pages.set(key, { page, checkedAt });
      return page;
    });
  }

  async #ask(route: Route, question: ListQuestion, urgency: Urgency): Promise<ListPage | Absence> {
    const { upstream } = route.source;
    const { signal } = this.#parts;
    return question.of === "tags"
      ? await upstream.listTags(route.repository, question.query, signal, urgency)
      : await upstream.listReferrers(route.repository, question.digest, question.query, signal, urgency);
  }

  #aged(route: Route, held: Held, stale: StaleReason | undefined): AgedPage {
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
