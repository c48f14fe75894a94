/**
 * The door as one front knocks at it: its questions are answered by the origin side, what it holds (fills, passes) is
 * counted, and let go of when the front ends, however it ends.
 *
 * A front looks first and asks then, and meanwhile another front's question may have been answered: what the front would
 * have found, had it looked now, is told to it without asking the upstream again.
 */
import type { Clock } from "../base/clock.ts";
import type { Emitter } from "../base/notices.ts";
import type { Graph } from "../meta/graph.ts";
import type { Inventory } from "../meta/inventory.ts";
import type { Place } from "../meta/repositories.ts";
import type { Tags } from "../meta/tags.ts";
import type { UseNotes } from "../meta/usage.ts";
import type { Pages } from "../mirror/aged.ts";
import type { Capacity } from "../mirror/capacity.ts";
import type { Fills } from "../mirror/fills.ts";
import { judgeFreshness } from "../mirror/freshness.ts";
import type { MirrorNotices } from "../mirror/notices.ts";
import type { Fetched, Flown, Origin, Sighting } from "../mirror/origin.ts";
import type { EndPass, Passes } from "../mirror/passes.ts";
import { mayRead } from "../mirror/permission.ts";
import type { Readers } from "../mirror/readers.ts";
import { makeRoute, type Route, type Source } from "../mirror/route.ts";
import type { Shelf } from "../mirror/shelf.ts";
import type { Digest } from "../oci/digest.ts";
import type { Tag } from "../oci/reference.ts";
import type { BlobStore } from "../store/blobstore.ts";
import type { DiskStore } from "../store/disk.ts";
import type { Absence } from "../upstream/upstream.ts";
import type { Channel } from "./channel.ts";
import { textOfError } from "./failures.ts";
import type { DoorAsks, DoorPosts, Flew, FrontAsks, FrontPosts } from "./messages.ts";
import { Watch } from "./watch.ts";

/** What is behind the door. */
export interface OriginSide {
  readonly origin: Origin;
  readonly pages: Pages;
  readonly fills: Pick<Fills, "find">;
  readonly tags: Pick<Tags, "find">;
  readonly graph: Pick<Graph, "findReachable" | "link">;
  readonly inventory: Pick<Inventory, "findSize" | "findUpstream" | "findMediaType" | "addBlob" | "dropBlob">;
  readonly shelf: Pick<Shelf, "find" | "forget">;
  readonly store: Pick<BlobStore, "has" | "open" | "remove"> & Pick<DiskStore, "discardSeen">;
  readonly capacity: Pick<Capacity, "findRefusal">;
  readonly passes: Passes;
  readonly usage: UseNotes;
  readonly readers: Readers;
  readonly sources: ReadonlyMap<string, Source>;
  readonly clock: Clock;
  readonly notices: Emitter<MirrorNotices>;
}

type Handled = "link" | "addBlob" | "dropBlob" | "uses" | "reading" | "endPass" | "join" | "release";

export class Door {
  readonly #side: OriginSide;
  readonly #channel: Channel<FrontAsks, FrontPosts>;
  readonly #watches = new Map<number, Watch>();
  readonly #passes = new Map<number, EndPass>();
  readonly #reading = new Set<Digest>();
  readonly #gone = new AbortController();
  #serial = 0;

  readonly answer: { readonly [K in keyof DoorAsks]: DoorAsks[K] } = {
    sightTag: async ({ place, tag }) => {
      const route = this.#route(place);
      const { origin } = this.#side;
      const known = origin.findAbsence(route, tag) ?? origin.findSighting(route, tag);
      return known === undefined ? await landed(origin.sightTag(route, tag)) : { value: known, joined: true };
    },
    refreshTag: async ({ place, tag }) => {
      const route = this.#route(place);
      const known = await this.#findTagged(route, tag);
      return known === undefined
        ? await landed(this.#side.origin.refreshTag(route, tag))
        : { value: known, joined: true };
    },
    fetchManifest: async ({ place, digest }) => {
      const route = this.#route(place);
      const known = await this.#findManifest(route, digest);
      return known === undefined
        ? await landed(this.#side.origin.fetchManifest(route, digest))
        : { value: known, joined: true };
    },
    confirmBlob: async ({ place, digest }) => {
      const route = this.#route(place);
      const known = this.#side.origin.findAbsence(route, digest);
      return known === undefined
        ? await landed(this.#side.origin.confirmBlob(route, digest))
        : { value: known, joined: true };
    },
    findPage: ({ place, question }) =>
      this.#side.pages.find(this.#route(place), question, { signal: this.#gone.signal }),
    findRefusal: ({ sizeBytes, newcomer }) => this.#side.capacity.findRefusal(sizeBytes, newcomer),
    takePass: async ({ place }) => {
      const end = await this.#side.passes.take(this.#route(place));
      if (end === undefined) return undefined;
      if (this.#gone.signal.aborted) end();
      this.#serial += 1;
      this.#passes.set(this.#serial, end);
      return this.#serial;
    },
    remove: ({ digest }) => this.#remove(digest),
    discard: async ({ digest, seen }) => {
      if (!(await this.#side.store.discardSeen(digest, seen))) return false;
      this.#side.shelf.forget(digest);
      this.#drop(digest);
      return true;
    },
  };

  readonly take: { readonly [K in Handled]: (value: DoorPosts[K]) => void } = {
    link: ({ place, entries }) =>
      this.#record("a permission could not be recorded", () => this.#side.graph.link(place, entries)),
    addBlob: ({ digest, sizeBytes }) => {
      // It may have left since the front looked.
      if (!this.#side.store.has(digest)) return;
      this.#record("a stored blob could not be counted", () => this.#side.inventory.addBlob(digest, sizeBytes, "", 0));
    },
    dropBlob: ({ digest }) => {
      // It may have been stored anew since the front looked.
      if (!this.#side.store.has(digest)) this.#drop(digest);
    },
    uses: (noted) => {
      for (const [digest, uses] of noted) this.#side.usage.note(digest, uses);
    },
    reading: ({ began, ended }) => {
      for (const digest of ended) if (this.#reading.delete(digest)) this.#side.readers.ended(digest);
      for (const digest of began) {
        if (this.#reading.has(digest)) continue;
        this.#reading.add(digest);
        this.#side.readers.began(digest);
      }
    },
    endPass: ({ pass }) => {
      this.#passes.get(pass)?.();
      this.#passes.delete(pass);
    },
    join: (asked) => this.#join(asked),
    release: ({ id }) => {
      this.#watches.get(id)?.end();
      this.#watches.delete(id);
    },
  };

  constructor(side: OriginSide, channel: Channel<FrontAsks, FrontPosts>) {
    this.#side = side;
    this.#channel = channel;
  }

  /** The front is gone, and with it everybody it asked for. */
  close(): void {
    this.#gone.abort();
    for (const watch of this.#watches.values()) watch.end();
    for (const end of this.#passes.values()) end();
    for (const digest of this.#reading) this.#side.readers.ended(digest);
    this.#reading.clear();
    this.#watches.clear();
    this.#passes.clear();
  }

  /** A front found it damaged. Another one may have, too, and it may be stored anew since. */
  async #remove(digest: Digest): Promise<void> {
    const { store, inventory, shelf } = this.#side;
    if (inventory.findMediaType(digest) === undefined) {
      const file = await store.open(digest);
      file?.close();
      if (file !== undefined && file.sizeBytes === inventory.findSize(digest)) return;
    }
    shelf.forget(digest);
    await store.remove(digest);
    this.#drop(digest);
  }

  #drop(digest: Digest): void {
    this.#record("the index of blobs cannot be used", () => this.#side.inventory.dropBlob(digest));
  }

  #join({ id, place, digest, sizeHint }: DoorPosts["join"]): void {
    const { fills, store, inventory, origin } = this.#side;
    if (fills.find(digest) === undefined && store.has(digest)) {
      // Where its bytes are from decides who may read them.
      const from = { upstream: inventory.findUpstream(digest) ?? "", repository: place.repository };
      this.#channel.post("fill", { id, joined: true, place: from, state: "stored" });
      return;
    }
    try {
      this.#watches.set(id, new Watch(id, origin.fillBlob(this.#route(place), digest, sizeHint), this.#channel));
    } catch (error) {
      this.#channel.post("fill", { id, joined: false, place, state: "failed", error: textOfError(error) });
    }
  }

  /** What the tag names, if that became known while the front asked. */
  async #findTagged(route: Route, tag: Tag): Promise<Fetched | Absence | undefined> {
    const { origin, tags, shelf, clock } = this.#side;
    const absence = origin.findAbsence(route, tag);
    if (absence !== undefined) return absence;
    const entry = tags.find(route, tag);
    if (entry === undefined || judgeFreshness(entry.checkedAt, route.source.freshness, clock.now()) !== "use") {
      return undefined;
    }
    const sighting: Sighting | undefined = origin.findSighting(route, tag);
    if (sighting !== undefined && sighting.at > entry.checkedAt) return undefined;
    const manifest = await shelf.find(entry.digest);
    return manifest === undefined ? undefined : { manifest, fetched: false, kept: true, checkedAt: entry.checkedAt };
  }

  async #findManifest(route: Route, digest: Digest): Promise<Fetched | Absence | undefined> {
    const { origin, graph, inventory, shelf, clock } = this.#side;
    const absence = origin.findAbsence(route, digest);
    if (absence !== undefined) return absence;
    if (!mayRead(graph.findReachable(route, digest), inventory.findUpstream(digest), route.upstream)) return undefined;
    const manifest = await shelf.find(digest);
    return manifest === undefined ? undefined : { manifest, fetched: false, kept: true, checkedAt: clock.now() };
  }

  #route(place: Place): Route {
    const source = this.#side.sources.get(place.upstream);
    if (source === undefined) throw new Error(`a front asked for an upstream that is not there: ${place.upstream}`);
    return makeRoute(source, place.repository);
  }

  #record(message: string, write: () => void): void {
    try {
      write();
    } catch (cause) {
      this.#side.notices.emit("storageTrouble", { message, cause });
    }
  }
}

async function landed<T>(flight: Flown<T>): Promise<Flew<T>> {
  const value = await flight.outcome;
  return { value, joined: flight.joined };
}
