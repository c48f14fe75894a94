/**
 * What upstreams said last that their tags name, without the content; believed as long as a tag is fresh.
 */
import type { Clock } from "../base/clock.ts";
import { type Place, tagKey } from "../meta/repositories.ts";
import type { Tag } from "../oci/reference.ts";
import { Ledger } from "./ledger.ts";
import type { Sighting } from "./origin.ts";
import type { Route } from "./route.ts";

const MAX_ENTRIES = 20_000;

export class Sightings {
  readonly #clock: Clock;
  readonly #entries: Ledger<Sighting>;

  constructor(clock: Clock, entries = Sightings.ledger()) {
    this.#clock = clock;
    this.#entries = entries;
  }

  static ledger(): Ledger<Sighting> {
    return new Ledger(MAX_ENTRIES);
  }

  find(route: Route, tag: Tag): Sighting | undefined {
    const sighting = this.last(route, tag);
    if (sighting === undefined) return undefined;
    const age = this.#clock.now() - sighting.at;
    return age >= 0 && age < route.source.freshness.tags ? sighting : undefined;
  }

  /** Whatever its age. */
  last(route: Route, tag: Tag): Sighting | undefined {
    return this.#entries.get(tagKey(route, tag));
  }

  remember(route: Route, tag: Tag, sighting: Sighting): void {
    this.#entries.set(tagKey(route, tag), sighting);
  }

  forget(place: Place, tag: Tag): void {
    this.#entries.delete(tagKey(place, tag));
  }
}
