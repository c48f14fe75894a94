/**
 * The parts of a front that would write, were they in the origin side's process: they look at the index and the files
 * themselves, and have the origin side write.
 */

import { Failure } from "../base/failure.ts";
import { unlessAborted } from "../base/singleflight.ts";
import type { Graph } from "../meta/graph.ts";
import type { Inventory } from "../meta/inventory.ts";
import type { Pages } from "../mirror/aged.ts";
import type { Capacity } from "../mirror/capacity.ts";
import { LocalPasses, type Passes } from "../mirror/passes.ts";
import type { BlobStore } from "../store/blobstore.ts";
import type { DiskStore } from "../store/disk.ts";
import { isAbsence } from "../upstream/upstream.ts";
import type { Channel } from "./channel.ts";
import type { DoorAsks, DoorPosts } from "./messages.ts";
import { placeOf } from "./remote-origin.ts";
import type { RemoteReaders } from "./remote-readers.ts";

type Door = Channel<DoorAsks, DoorPosts>;

export function graphThrough(door: Door, graph: Graph): Pick<Graph, "findReachable" | "link"> {
  return {
    findReachable: (place, digest) => graph.findReachable(place, digest),
    link: ({ upstream, repository }, entries) =>
      door.post("link", { place: { upstream, repository }, entries: [...entries] }),
  };
}

export function inventoryThrough(
  door: Door,
  inventory: Inventory,
): Pick<Inventory, "findSize" | "findUpstream" | "findMediaType" | "addBlob" | "addManifest" | "dropBlob"> {
  return {
    findSize: (digest) => inventory.findSize(digest),
    findUpstream: (digest) => inventory.findUpstream(digest),
    findMediaType: (digest) => inventory.findMediaType(digest),
    addBlob: (digest, sizeBytes) => door.post("addBlob", { digest, sizeBytes }),
    dropBlob: (digest) => door.post("dropBlob", { digest }),
    addManifest: neverHere,
  };
}

export function storeThrough(
  door: Door,
  store: BlobStore,
  readers: Pick<RemoteReaders, "stir">,
): Pick<BlobStore, "has" | "open" | "read" | "remove" | "ingest"> & Pick<DiskStore, "discardSeen"> {
  return {
    has: (digest) => store.has(digest),
    open: (digest, sizeBytes) => {
      readers.stir();
      return store.open(digest, sizeBytes);
    },
    read: (digest, limitBytes) => store.read(digest, limitBytes),
    remove: (digest) => door.ask("remove", { digest }),
    discardSeen: (digest, seen) => door.ask("discard", { digest, seen }),
    ingest: neverHere,
  };
}

export function capacityThrough(door: Door): Pick<Capacity, "findRefusal" | "reserve"> {
  return { findRefusal: (sizeBytes, newcomer) => door.ask("findRefusal", { sizeBytes, newcomer }), reserve: neverHere };
}

export function pagesThrough(door: Door): Pages {
  return {
    find: (route, question, caller) =>
      unlessAborted(door.ask("findPage", { place: placeOf(route), question }), caller.signal),
  };
}

/** No more than this front has connections for, however many the origin side would grant: the next would wait for one. */
export function passesThrough(door: Door): Passes {
  const here = new LocalPasses();
  return {
    async take(route) {
      const end = here.takeNow(route);
      if (end === undefined) return undefined;
      let pass: number | undefined;
      try {
        pass = await door.ask("takePass", { place: placeOf(route) });
      } finally {
        if (pass === undefined) end();
      }
      if (pass === undefined) return undefined;
      let held = true;
      return () => {
        if (held) door.post("endPass", { pass });
        held = false;
        end();
      };
    },
    async admit(route, digest) {
      const { value } = await door.ask("confirmBlob", { place: placeOf(route), digest });
      return isAbsence(value) ? value : undefined;
    },
  };
}

function neverHere(): never {
  throw new Failure("storage", "a front does not write");
}
