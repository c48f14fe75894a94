/**
 * The bodies that go past the store just now: who asks for a blob that is on its way already reads along, as long as its
 * bytes are still at hand, and so does who lost the file he was reading, or kept others waiting.
 */
import type { Hash } from "node:crypto";
import type { Clock } from "../base/clock.ts";
import type { Emitter } from "../base/notices.ts";
import { placeKey } from "../meta/repositories.ts";
import type { Digest } from "../oci/digest.ts";
import type { MirrorNotices } from "./notices.ts";
import { type Beginning, Relay } from "./relay.ts";
import { RelayReader } from "./relayreader.ts";
import type { Route } from "./route.ts";

const MIB = 1024 * 1024;
/** What all of them hold together, as long as each has the smallest. */
const BUDGET_BYTES = 64 * MIB;
const LARGEST_BYTES = 8 * MIB;
const SMALLEST_BYTES = MIB;

export interface RelaysParts {
  readonly clock: Clock;
  readonly notices: Emitter<MirrorNotices>;
}

/** What is relayed: these bytes, from this place. */
export interface Subject {
  readonly route: Route;
  readonly digest: Digest;
  readonly sizeBytes: number;
}

export class Relays {
  readonly #parts: RelaysParts;
  readonly #running = new Map<string, Set<Relay>>();
  #count = 0;

  constructor(parts: RelaysParts) {
    this.#parts = parts;
  }

  /** How many there are. */
  get size(): number {
    return this.#count;
  }

  /** How far apart readers of one body may be. */
  readonly windowBytes = (): number => {
    const share = Math.floor(BUDGET_BYTES / Math.max(1, this.#count));
    return Math.max(SMALLEST_BYTES, Math.min(LARGEST_BYTES, share));
  };

  /** One that a reader from `position` on can join. Permission is of the place: only its own are found. */
  find(route: Route, digest: Digest, position: number, aheadBytes?: number): Relay | undefined {
    const running = this.#running.get(keyOf(route, digest)) ?? [];
    for (const relay of running) if (relay.covers(position, aheadBytes)) return relay;
    return undefined;
  }

  /** Verified whole, from some byte on. It waits for its first reader, who has to join before anything else happens. */
  open(subject: Subject, beginning: Omit<Beginning, "stop">): Relay {
    const { route, digest, sizeBytes } = subject;
    const key = keyOf(route, digest);
    const relay = new Relay(
      {
        ...this.#parts,
        ...subject,
        windowBytes: this.windowBytes,
        over: (ended) => this.#forget(key, ended),
        slow: (reader, state) => this.#moveOn(subject, reader, state),
      },
      { ...beginning, stop: sizeBytes },
    );
    this.#count += 1;
    const others = this.#running.get(key);
    if (others === undefined) this.#running.set(key, new Set([relay]));
    else others.add(relay);
    return relay;
  }

  /** A part that ends before the blob's tail, for one reader: nothing tells whether it is right. */
  slice(subject: Subject, position: number, end: number): RelayReader {
    const beginning = { start: position, hash: undefined, stop: end };
    const slow = () => {};
    this.#count += 1;
    const over = () => {
      this.#count -= 1;
    };
    const relay = new Relay({ ...this.#parts, ...subject, windowBytes: this.windowBytes, over, slow }, beginning);
    const reader = new RelayReader(position, end);
    relay.join(reader);
    return reader;
  }

  #moveOn(subject: Subject, reader: RelayReader, hash: Hash): void {
    const { position } = reader;
    const relay = this.find(subject.route, subject.digest, position) ?? this.open(subject, { start: position, hash });
    relay.join(reader);
  }

  #forget(key: string, relay: Relay): void {
    this.#count -= 1;
    const others = this.#running.get(key);
    others?.delete(relay);
    if (others?.size === 0) this.#running.delete(key);
  }
}

function keyOf(route: Route, digest: Digest): string {
  return `${placeKey(route)}@${digest}`;
}
