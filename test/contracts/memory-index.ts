/**
 * An index in memory, written for plainness: what follows from something is worked out when it is asked for.
 *
 * For tests of what stands on an index, and as the second implementation that keeps the suite honest.
 */
import type { Clock } from "../../src/base/clock.ts";
import type { Reachable } from "../../src/meta/graph.ts";
import type { Holding } from "../../src/meta/holdings.ts";
import type { Naming } from "../../src/meta/inventory.ts";
import { type Place, placeKey, tagKey } from "../../src/meta/repositories.ts";
import type { TagEntry } from "../../src/meta/tags.ts";
import { worthAfter } from "../../src/meta/worth.ts";
import type { Digest } from "../../src/oci/digest.ts";
import type { Tag } from "../../src/oci/reference.ts";
import type { IndexRooms, IndexUnderTest } from "./index.ts";

interface Row extends Omit<Holding, "digest"> {
  sizeBytes: number;
  upstream: string;
  worth: number;
  lastUsedAt: number;
  hits: number;
  held: boolean;
}

const MAX_STEP_MS = 60 * 60_000;
const MAX_GAP_MS = 30 * 24 * 60 * 60_000;

export class MemoryIndex implements IndexUnderTest {
  rooms: IndexRooms;
  readonly #clock: Clock;
  readonly #places = new Map<string, { readonly id: number; readonly place: Place }>();
  readonly #tags = new Map<string, { readonly place: Place; readonly tag: Tag; readonly entry: TagEntry }>();
  readonly #reachable = new Map<string, Map<Digest, Reachable>>();
  readonly #blobs = new Map<Digest, Row>();
  readonly #types = new Map<Digest, string>();
  readonly #names = new Map<Digest, Set<Digest>>();
  readonly #ghosts = new Map<Digest, number>();
  #usesAt: number | undefined;

  constructor(clock: Clock) {
    this.#clock = clock;
    this.rooms = this.#open();
  }

  hold(digest: Digest, held: boolean): void {
    const row = this.#blobs.get(digest);
    if (row !== undefined) row.held = held;
  }

  reopen(): void {
    this.rooms = this.#open();
  }

  async [Symbol.asyncDispose](): Promise<void> {}

  #open(): IndexRooms {
    return {
      repositories: this.#repositories(),
      tags: this.#tagRoom(),
      graph: this.#graph(),
      inventory: this.#inventory(),
      holdings: this.#holdings(),
      usage: this.#usage(),
    };
  }

  #repositories(): IndexRooms["repositories"] {
    const isUsed = (place: Place) =>
      (this.#reachable.get(placeKey(place))?.size ?? 0) > 0 ||
      [...this.#tags.values()].some((one) => placeKey(one.place) === placeKey(place));
    return {
      findId: (place) => this.#places.get(placeKey(place))?.id,
      idOf: (place) => {
        const known = this.#places.get(placeKey(place)) ?? { id: this.#places.size + 1, place };
        this.#places.set(placeKey(place), known);
        return known.id;
      },
      list: () => [...this.#places.values()].map(({ place }) => place).filter(isUsed),
    };
  }

  #tagRoom(): IndexRooms["tags"] {
    const ofPlace = (place: Place) =>
      [...this.#tags.values()].filter((one) => placeKey(one.place) === placeKey(place)).map(({ tag }) => String(tag));
    return {
      find: (place, tag) => this.#tags.get(tagKey(place, tag))?.entry,
      put: (place, tag, digest, checkedAt) => {
        this.#repositories().idOf(place);
        this.#tags.set(tagKey(place, tag), { place, tag, entry: { digest, checkedAt } });
      },
      drop: (place, tag) => void this.#tags.delete(tagKey(place, tag)),
      hasAny: (place) => ofPlace(place).length > 0,
      namesOf: (place) => ofPlace(place).sort(),
    };
  }

  #graph(): IndexRooms["graph"] {
    return {
      findReachable: (place, digest) => this.#reachable.get(placeKey(place))?.get(digest),
      link: (place, entries) => {
        const all = [...entries];
        this.#repositories().idOf(place);
        const here = this.#reachable.get(placeKey(place)) ?? new Map<Digest, Reachable>();
        this.#reachable.set(placeKey(place), here);
        for (const { digest, sizeBytes, confirmed } of all) {
          const before = here.get(digest);
          here.set(digest, {
            digest,
            sizeBytes: before === undefined || before.sizeBytes < 0 ? sizeBytes : before.sizeBytes,
            confirmed: confirmed || before?.confirmed === true,
          });
        }
      },
    };
  }

  #inventory(): IndexRooms["inventory"] {
    const rows = () => [...this.#blobs].sort(([one], [other]) => (one < other ? -1 : 1));
    const add = (digest: Digest, sizeBytes: number, upstream: string, storedAt: number) => {
      const row = this.#blobs.get(digest);
      if (row !== undefined) {
        if (row.upstream === "") row.upstream = upstream;
        return;
      }
      const worth = worthAfter(this.#ghosts.get(digest) ?? Number.NEGATIVE_INFINITY, storedAt, 1);
      this.#blobs.set(digest, { sizeBytes, upstream, worth, lastUsedAt: storedAt, hits: 0, held: false });
    };
    const blobs = this.#blobs;
    return {
      get blobs() {
        return blobs.size;
      },
      get bytes() {
        return [...blobs.values()].reduce((sum, row) => sum + row.sizeBytes, 0);
      },
      findSize: (digest) => this.#blobs.get(digest)?.sizeBytes,
      findUpstream: (digest) => this.#blobs.get(digest)?.upstream || undefined,
      addBlob: add,
      addBlobs: (all) => {
        for (const { digest, sizeBytes, upstream, storedAt } of all) add(digest, sizeBytes, upstream, storedAt);
      },
      correctSize: (digest, sizeBytes) => {
        const row = this.#blobs.get(digest);
        if (row !== undefined) row.sizeBytes = sizeBytes;
      },
      dropBlob: (digest) => void this.#blobs.delete(digest),
      sizesBetween: (after, before, limit) =>
        rows()
          .filter(([digest]) => digest > after && digest < before)
          .slice(0, limit)
          .map(([digest, { sizeBytes }]) => ({ digest, sizeBytes })),
      findMediaType: (digest) => this.#types.get(digest),
      addManifest: (digest, mediaType, naming) => this.#addManifest(digest, mediaType, naming),
      findUnlinked: () => [],
      dropManifest: (digest) => void this.#types.delete(digest),
    };
  }

  #addManifest(digest: Digest, mediaType: string, { children, subject }: Naming): void {
    if (!this.#types.has(digest)) this.#types.set(digest, mediaType);
    for (const child of children) this.#name(digest, child);
    if (subject !== undefined && !children.includes(subject)) this.#name(subject, digest);
  }

  #name(parent: Digest, child: Digest): void {
    if (parent === child) return;
    const named = this.#names.get(parent) ?? new Set<Digest>();
    this.#names.set(parent, named.add(child));
  }

  #parentsOf(digest: Digest): Digest[] {
    return [...this.#names].filter(([of, named]) => named.has(digest) && this.#blobs.has(of)).map(([of]) => of);
  }

  #holdings(): IndexRooms["holdings"] {
    const holding = ([digest, { sizeBytes, upstream, worth, lastUsedAt, hits }]: readonly [Digest, Row]): Holding => {
      return { digest, sizeBytes, upstream, worth, lastUsedAt, hits };
    };
    const find = (digest: Digest) => {
      const row = this.#blobs.get(digest);
      return row === undefined ? undefined : holding([digest, row]);
    };
    return {
      find,
      bytesOf: (upstream) =>
        [...this.#blobs.values()].reduce((sum, row) => sum + (row.upstream === upstream ? row.sizeBytes : 0), 0),
      findVictims: (limit, { from } = {}) =>
        [...this.#blobs]
          .filter(([digest, row]) => !row.held && this.#parentsOf(digest).length === 0)
          .filter(([, row]) => from === undefined || row.upstream === from)
          .map(holding)
          .sort((one, other) => one.worth - other.worth)
          .slice(0, limit),
      findUnit: (root) => this.#unitOf(root).flatMap((digest) => find(digest) ?? []),
      remove: (digests, remember) => {
        for (const digest of digests) this.#remove(digest, remember);
      },
    };
  }

  #unitOf(root: Digest): Digest[] {
    const unit = new Set(this.#blobs.has(root) ? [root] : []);
    for (let before = -1; before !== unit.size; ) {
      before = unit.size;
      for (const [digest, { held }] of this.#blobs) {
        const parents = this.#parentsOf(digest);
        if (!held && parents.length > 0 && parents.every((parent) => unit.has(parent))) unit.add(digest);
      }
    }
    return [...unit];
  }

  #remove(digest: Digest, remember: boolean): void {
    const row = this.#blobs.get(digest);
    if (row !== undefined && remember) this.#ghosts.set(digest, row.worth);
    const named = [...(this.#names.get(digest) ?? [])];
    this.#names.delete(digest);
    this.#types.delete(digest);
    this.#blobs.delete(digest);
    for (const [key, { entry }] of this.#tags) if (entry.digest === digest) this.#tags.delete(key);
    const isNamed = (of: Digest) => [...this.#names.values()].some((children) => children.has(of));
    const lost = [digest, ...named.filter((child) => !this.#blobs.has(child) && !isNamed(child))];
    for (const here of this.#reachable.values()) for (const of of lost) here.delete(of);
  }

  #usage(): IndexRooms["usage"] {
    const noted = new Map<Digest, number>();
    let seenAt = this.#clock.now();
    const known = this.#usesAt ?? seenAt;
    let at = Math.max(known, Math.min(seenAt, known + MAX_GAP_MS));
    const now = () => {
      at += Math.min(Math.max(0, this.#clock.now() - seenAt), MAX_STEP_MS);
      seenAt = this.#clock.now();
      return at;
    };
    const worthOf = (digest: Digest) =>
      worthAfter(this.#blobs.get(digest)?.worth ?? Number.NEGATIVE_INFINITY, now(), noted.get(digest) ?? 0);
    return {
      now,
      worthOf,
      note: (digest, uses = 1) => void noted.set(digest, (noted.get(digest) ?? 0) + uses),
      flush: () => {
        const time = this.#clock.now();
        for (const [digest, uses] of noted) {
          const row = this.#blobs.get(digest);
          if (row === undefined) continue;
          Object.assign(row, {
            worth: worthOf(digest),
            hits: row.hits + uses,
            lastUsedAt: Math.max(row.lastUsedAt, time),
          });
          for (const parent of this.#parentsOf(digest)) {
            const of = this.#blobs.get(parent);
            if (of !== undefined) Object.assign(of, { worth: Math.max(of.worth, row.worth) });
          }
        }
        noted.clear();
        this.#usesAt = now();
        return false;
      },
    };
  }
}
