/**
 * The door of `mirror/origin.ts` as a front in a process of its own has it: questions go to the origin side, and what
 * can be told at once is a copy that the origin side keeps up to date.
 *
 * Whoever asks here for what is being asked joins here; the origin side joins the fronts.
 */
import type { Clock } from "../base/clock.ts";
import { Failure } from "../base/failure.ts";
import { Singleflight } from "../base/singleflight.ts";
import { type Place, placeKey, tagKey } from "../meta/repositories.ts";
import { Absences } from "../mirror/absences.ts";
import type { Ledger } from "../mirror/ledger.ts";
import type { Fetched, Flown, Origin, Sighting } from "../mirror/origin.ts";
import type { Route } from "../mirror/route.ts";
import { Sightings } from "../mirror/sightings.ts";
import type { Ticket } from "../mirror/ticket.ts";
import { Troubles } from "../mirror/troubles.ts";
import type { Digest } from "../oci/digest.ts";
import type { Tag } from "../oci/reference.ts";
import type { Absence, BlobHead } from "../upstream/upstream.ts";
import type { Channel } from "./channel.ts";
import { errorOfText } from "./failures.ts";
import type { Beginning, DoorAsks, DoorPosts, Entry, Flew, FrontPosts } from "./messages.ts";
import type { RemoteFills } from "./remote-fills.ts";

export interface RemoteOriginParts {
  readonly channel: Channel<DoorAsks, DoorPosts>;
  readonly fills: RemoteFills;
  readonly clock: Clock;
}

type Told = "sighting" | "absence" | "trouble" | "filling" | "fill" | "progress" | "broken";

export class RemoteOrigin implements Origin {
  readonly #parts: RemoteOriginParts;
  readonly #sightingLedger = Sightings.ledger();
  readonly #absenceLedger = Absences.ledger();
  readonly #troubleLedger = Troubles.ledger();
  readonly #sightings: Sightings;
  readonly #absences: Absences;
  readonly #troubles: Troubles;
  readonly #fillings = new Map<string, Place>();
  readonly #sighting = new Singleflight<Flew<Sighting | Absence | undefined>>();
  readonly #refreshing = new Singleflight<Flew<Fetched | Absence>>();
  readonly #fetching = new Singleflight<Flew<Fetched | Absence>>();
  readonly #confirming = new Singleflight<Flew<BlobHead | Absence>>();

  /** What the origin side tells. */
  readonly take: { readonly [K in Told]: (value: FrontPosts[K]) => void } = {
    sighting: (entry) => copy(this.#sightingLedger, entry),
    absence: (entry) => copy(this.#absenceLedger, entry),
    trouble: ({ key, value }) => {
      const failure = value === undefined ? undefined : errorOfText(value.error);
      if (value === undefined || !(failure instanceof Failure)) this.#troubleLedger.delete(key);
      else this.#troubleLedger.set(key, { failure, until: value.until });
    },
    filling: ({ key, value }) => {
      if (value !== undefined) this.#fillings.set(key, value);
      else {
        this.#fillings.delete(key);
        this.#parts.fills.ended(key as Digest);
      }
    },
    fill: (state) => this.#parts.fills.take(state),
    progress: (value) => this.#parts.fills.progress(value),
    broken: (value) => this.#parts.fills.broken(value),
  };

  constructor(parts: RemoteOriginParts, beginning: Beginning) {
    this.#parts = parts;
    this.#sightings = new Sightings(parts.clock, this.#sightingLedger);
    this.#absences = new Absences(parts.clock, this.#absenceLedger);
    this.#troubles = new Troubles(parts.clock, this.#troubleLedger);
    for (const [key, value] of beginning.sightings) this.take.sighting({ key, value });
    for (const [key, value] of beginning.absences) this.take.absence({ key, value });
    for (const [key, value] of beginning.troubles) this.take.trouble({ key, value });
    for (const [key, value] of beginning.fillings) this.take.filling({ key, value });
  }

  findSighting(route: Route, tag: Tag): Sighting | undefined {
    return this.#sightings.find(route, tag);
  }

  findAbsence(route: Route, what: string): Absence | undefined {
    return this.#absences.find(route, what);
  }

  findTrouble(route: Route, tag: Tag): Failure | undefined {
    return this.#troubles.find(route, tag);
  }

  findFill(digest: Digest): Place | undefined {
    return this.#fillings.get(digest);
  }

  sightTag(route: Route, tag: Tag): Flown<Sighting | Absence | undefined> {
    const { channel } = this.#parts;
    return fly(this.#sighting, tagKey(route, tag), () => channel.ask("sightTag", { place: placeOf(route), tag }));
  }

  refreshTag(route: Route, tag: Tag): Flown<Fetched | Absence> {
    const { channel } = this.#parts;
    return fly(this.#refreshing, tagKey(route, tag), () => channel.ask("refreshTag", { place: placeOf(route), tag }));
  }

  fetchManifest(route: Route, digest: Digest): Flown<Fetched | Absence> {
    const { channel } = this.#parts;
    const key = `${placeKey(route)}@${digest}`;
    return fly(this.#fetching, key, () => channel.ask("fetchManifest", { place: placeOf(route), digest }));
  }

  confirmBlob(route: Route, digest: Digest): Flown<BlobHead | Absence> {
    const { channel } = this.#parts;
    const key = `${placeKey(route)}@${digest}`;
    return fly(this.#confirming, key, () => channel.ask("confirmBlob", { place: placeOf(route), digest }));
  }

  fillBlob(route: Route, digest: Digest, sizeHint: number | undefined): Ticket {
    return this.#parts.fills.join(route, digest, sizeHint);
  }
}

/** A route without its source, which is a thing of this process. */
export function placeOf({ upstream, repository }: Route): Place {
  return { upstream, repository };
}

function fly<T>(flights: Singleflight<Flew<T>>, key: string, ask: () => Promise<Flew<T>>): Flown<T> {
  const flight = flights.run(key, ask);
  let { joined } = flight;
  const outcome = flight.outcome.then((flew) => {
    joined ||= flew.joined;
    return flew.value;
  });
  // Whoever waits may have left by then.
  outcome.catch(() => {});
  return {
    outcome,
    get joined() {
      return joined;
    },
  };
}

function copy<V extends object>(ledger: Ledger<V>, { key, value }: Entry<V>): void {
  if (value === undefined) ledger.delete(key);
  else ledger.set(key, value);
}
