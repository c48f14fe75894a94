/**
 * The negative cache: what an upstream said it has not, believed for `freshness.notFound`.
 *
 * Only answers are remembered, never failures: a 401, 429 or 5xx is not a 404.
 */
import type { Clock } from "../base/clock.ts";
import { type Place, placeKey } from "../meta/repositories.ts";
import type { Absence } from "../upstream/upstream.ts";
import { Ledger } from "./ledger.ts";
import type { Route } from "./route.ts";

const MAX_ENTRIES = 50_000;

export interface RememberedAbsence {
  readonly absence: Absence;
  readonly until: number;
}

export class Absences {
  readonly #clock: Clock;
  readonly #entries: Ledger<RememberedAbsence>;

  constructor(clock: Clock, entries = Absences.ledger()) {
    this.#clock = clock;
    this.#entries = entries;
  }

  static ledger(): Ledger<RememberedAbsence> {
    return new Ledger(MAX_ENTRIES);
  }

  /** @param what a tag, a digest, or another text that is none of both. */
  find(route: Route, what: string): Absence | undefined {
    if (this.#entries.size === 0) return undefined;
    const key = keyOf(route, what);
    const entry = this.#entries.get(key);
    if (entry === undefined) return undefined;
    const leftMs = entry.until - this.#clock.now();
    // More than the whole time left: the clock was set back, and the entry proves nothing.
    if (leftMs > 0 && leftMs <= route.source.freshness.notFound) return entry.absence;
    this.#entries.delete(key);
    return undefined;
  }

  remember(route: Route, what: string, absence: Absence): void {
    const until = this.#clock.now() + route.source.freshness.notFound;
    this.#entries.set(keyOf(route, what), { absence, until });
  }

  forget(place: Place, what: string): void {
    this.#entries.delete(keyOf(place, what));
  }
}

function keyOf(place: Place, what: string): string {
  return `${placeKey(place)} ${what}`;
}
