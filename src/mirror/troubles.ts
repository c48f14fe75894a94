/**
 * Which tags an upstream failed to tell of just now, so that it is not asked again with every request for something that
 * can be served stale meanwhile.
 *
 * What is not stored is asked for afresh: this only spares questions whose answer nobody has to wait for.
 */
import type { Clock } from "../base/clock.ts";
import type { Failure } from "../base/failure.ts";
import { type Place, tagKey } from "../meta/repositories.ts";
import type { Tag } from "../oci/reference.ts";
import { Ledger } from "./ledger.ts";
import type { Route } from "./route.ts";

const MAX_ENTRIES = 20_000;
const UNREACHABLE_MS = 10_000;
const LIMITED_MS = 60_000;
const MOST_MS = 600_000;

export interface RememberedTrouble {
  readonly failure: Failure;
  readonly until: number;
}

export class Troubles {
  readonly #clock: Clock;
  readonly #entries: Ledger<RememberedTrouble>;

  constructor(clock: Clock, entries = Troubles.ledger()) {
    this.#clock = clock;
    this.#entries = entries;
  }

  static ledger(): Ledger<RememberedTrouble> {
    return new Ledger(MAX_ENTRIES);
  }

  find(route: Route, tag: Tag): Failure | undefined {
    if (this.#entries.size === 0) return undefined;
    const key = tagKey(route, tag);
    const entry = this.#entries.get(key);
    if (entry === undefined) return undefined;
    const leftMs = entry.until - this.#clock.now();
    if (leftMs > 0 && leftMs <= MOST_MS) return entry.failure;
    this.#entries.delete(key);
    return undefined;
  }

  remember(route: Route, tag: Tag, failure: Failure): void {
    const until = this.#clock.now() + restMs(failure);
    this.#entries.set(tagKey(route, tag), { failure, until });
  }

  forget(place: Place, tag: Tag): void {
    this.#entries.delete(tagKey(place, tag));
  }
}

/** For how long an upstream that failed so is not asked again for what can be served stale; at most ten minutes. */
export function restMs(failure: Failure): number {
  return Math.min(failure.retryAfterMs ?? (failure.kind === "limited" ? LIMITED_MS : UNREACHABLE_MS), MOST_MS);
}
