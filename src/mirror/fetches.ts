/**
 * Manifests on their way here, by digest: one GET for each place and digest, whoever wants it (a client, a refresh, a
 * renewal), and what it brings is on the shelf when it ends.
 *
 * The invariant: whoever has nothing else to give is told no "not now" that was said to a refresh, which yields where anything is short.
 */
import type { Clock } from "../base/clock.ts";
import { isFailure } from "../base/failure.ts";
import { type Flight, Singleflight } from "../base/singleflight.ts";
import { type Place, placeKey } from "../meta/repositories.ts";
import type { Digest } from "../oci/digest.ts";
import { type Absence, isAbsence } from "../upstream/upstream.ts";
import type { Urgency } from "../upstream/urgency.ts";
import type { Absences } from "./absences.ts";
import type { Fetched } from "./origin.ts";
import type { Pledges } from "./pledges.ts";
import type { Route } from "./route.ts";
import type { Shelf } from "./shelf.ts";

export interface FetchesParts {
  readonly shelf: Pick<Shelf, "keep">;
  readonly absences: Pick<Absences, "remember">;
  readonly pledges: Pledges;
  readonly clock: Clock;
  /** Aborted when the mirror stops. */
  readonly signal: AbortSignal;
}

export class Fetches {
  readonly #parts: FetchesParts;
  readonly #running = new Singleflight<Fetched | Absence>();
  /** What is being fetched only because something stored grew old. */
  readonly #yielding = new Set<string>();

  constructor(parts: FetchesParts) {
    this.#parts = parts;
  }

  /** @throws Failure. */
  async fetch(route: Route, digest: Digest, urgency: Urgency): Promise<Fetched | Absence> {
    const key = keyOf(route, digest);
    for (;;) {
      const { outcome, joined } = this.#begin(key, route, digest, urgency);
      const yields = joined && urgency === "miss" && this.#yielding.has(key);
      try {
        const answer = await outcome;
        return joined && !isAbsence(answer) ? { ...answer, joined } : answer;
      } catch (error) {
        if (!yields || this.#parts.signal.aborted || !isNotNow(error)) throw error;
      }
    }
  }

  /** Resolves when nothing runs any more. */
  settled(): Promise<void> {
    return this.#running.settled();
  }

  #begin(key: string, route: Route, digest: Digest, urgency: Urgency): Flight<Fetched | Absence> {
    return this.#running.run(key, async () => {
      if (urgency === "refresh") this.#yielding.add(key);
      try {
        return await this.#ask(route, digest, urgency);
      } finally {
        this.#yielding.delete(key);
      }
    });
  }

  async #ask(route: Route, digest: Digest, urgency: Urgency): Promise<Fetched | Absence> {
    const { shelf, absences, pledges, clock, signal } = this.#parts;
    const at = clock.now();
    const reference = { type: "digest", digest } as const;
    const body = await route.source.upstream.getManifest(route.repository, reference, signal, urgency);
    pledges.redeem(route.upstream, keyOf(route, digest));
    if (isAbsence(body)) {
      absences.remember(route, digest, body);
      return body;
    }
    return { ...(await shelf.keep(route, body, digest)), fetched: true, checkedAt: at };
  }
}

/** What names a manifest in a place. */
export function keyOf(place: Place, digest: Digest): string {
  return `${placeKey(place)}@${digest}`;
}

/** It was not sent, or got no word: said to who can do without. */
function isNotNow(error: unknown): boolean {
  return (
    isFailure(error, "limited", "overloaded", "unreachable") && error.upstreamStatus === undefined && !error.timedOut
  );
}
