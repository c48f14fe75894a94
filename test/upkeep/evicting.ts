/** A store of rows without bytes, with everything that decides what leaves it, on a clock that the test moves. */
import { Failure } from "../../src/base/failure.ts";
import { Notices } from "../../src/base/notices.ts";
import { Holdings } from "../../src/meta/holdings.ts";
import { Inventory } from "../../src/meta/inventory.ts";
import { Usage } from "../../src/meta/usage.ts";
import { Capacity } from "../../src/mirror/capacity.ts";
import type { MirrorNotices } from "../../src/mirror/notices.ts";
import type { Digest } from "../../src/oci/digest.ts";
import { OCI_MANIFEST } from "../../src/oci/mediatypes.ts";
import { Evictor } from "../../src/upkeep/evictor.ts";
import { ManualClock } from "../kit/clock.ts";
import { digest, place, type Rooms, withRooms } from "../meta/rooms.ts";

export const MINUTE = 60_000;
export const HOUR = 60 * MINUTE;

export interface Limits {
  readonly maxBytes?: number;
  readonly minFreeBytes?: number;
  readonly diskBytes?: number;
  readonly shares?: ReadonlyMap<string, number>;
  readonly high?: number;
  readonly low?: number;
  readonly isOnline?: boolean;
}

export class Scene {
  readonly rooms: Rooms;
  readonly clock = new ManualClock();
  readonly notices = new Notices<MirrorNotices>();
  readonly usage: Usage;
  readonly inventory: Inventory;
  readonly holdings: Holdings;
  readonly capacity: Capacity;
  readonly evictor: Evictor;
  readonly open = new Set<Digest>();
  readonly filling = new Set<Digest>();
  readonly evicted: MirrorNotices["evicted"][] = [];
  readonly sweeps: MirrorNotices["evictionEnded"][] = [];
  readonly troubles: MirrorNotices["storageTrouble"][] = [];
  /** Whose files were to be removed. */
  readonly discarded: Digest[] = [];
  /** Of a fill that ended early. */
  keptBytes = 0;
  /** What others have on the disk. */
  foreignBytes = 0;
  /** The disk lets go of nothing. */
  stuck = false;

  constructor(rooms: Rooms, limits: Limits) {
    const { database, repositories, tags } = rooms;
    const { clock, notices } = this;
    this.rooms = rooms;
    this.usage = new Usage(database, clock);
    this.inventory = new Inventory(database, true, (at) => this.usage.dateOf(at));
    this.holdings = new Holdings(database, { inventory: this.inventory, tags, repositories });
    const { maxBytes = 1000, minFreeBytes = 0, diskBytes = 1e9, shares, high = 1, low = 1, isOnline = true } = limits;
    const store = {
      freeBytes: async () => diskBytes - this.inventory.bytes - this.foreignBytes,
      retryRemoving: async () => {},
      has: () => this.stuck,
      isOpen: (of: Digest) => this.open.has(of),
      discard: async (of: Digest) => {
        this.discarded.push(of);
        if (this.stuck) throw new Failure("storage", "the disk lets go of nothing");
      },
    };
    const bounds = { maxBytes, minFreeBytes, ...(shares === undefined ? {} : { shares }) };
    const bytesOf = (upstream: string) => this.holdings.bytesOf(upstream);
    const bytesKept = () => this.keptBytes;
    const keeping = {
      get bytes() {
        return bytesKept();
      },
      takenBytes: () => 0,
      settle: () => {},
      makeRoom: async () => {
        const freed = this.keptBytes;
        this.keptBytes = 0;
        return freed;
      },
    };
    const { inventory } = this;
    this.capacity = new Capacity({ store, inventory, limits: bounds, clock, notices, bytesOf, keeping });
    this.evictor = new Evictor({
      ...this,
      store,
      keeping,
      shelf: { forget() {} },
      isFilling: (of) => this.filling.has(of),
      marks: { high, low },
      isOnline,
    });
    this.capacity.useMaker(this.evictor);
    notices.on("evicted", (fact) => this.evicted.push(fact));
    notices.on("evictionEnded", (fact) => this.sweeps.push(fact));
    notices.on("storageTrouble", (fact) => this.troubles.push(fact));
  }

  /** Stores it whatever the limits say; with children it is a manifest. */
  put(
    name: string,
    sizeBytes: number,
    options: { children?: readonly string[]; upstream?: string; subject?: string } = {},
  ) {
    const { children, upstream = "docker.io", subject } = options;
    this.inventory.addBlob(digest(name), sizeBytes, upstream, this.clock.now());
    if (children === undefined) return;
    const naming = { children: children.map(digest), subject: subject === undefined ? undefined : digest(subject) };
    this.inventory.addManifest(digest(name), OCI_MANIFEST, naming);
  }

  /** An image with layers of its own, `NAME.0` and so on, and others that are there. */
  image(name: string, own: readonly number[], shared: readonly string[] = []): void {
    const layers = own.map((_, at) => `${name}.${at}`);
    this.put(name, 10, { children: [...layers, ...shared] });
    for (const [at, size] of own.entries()) this.put(`${name}.${at}`, size);
  }

  /** Says that the place may read it, and so how large it is. */
  announce(sizes: Readonly<Record<string, number>>): void {
    const entries = Object.entries(sizes).map(([name, sizeBytes]) => ({
      digest: digest(name),
      sizeBytes,
      confirmed: false,
    }));
    this.rooms.graph.link(place("docker.io", "team/app"), entries);
  }

  use(name: string, uses = 1): void {
    this.usage.note(digest(name), uses);
    this.usage.flush();
  }

  /** As a fill does: room first, then the row. @returns why it was not stored. */
  async store(name: string, sizeBytes: number, upstream = "docker.io"): Promise<string | undefined> {
    const room = await this.capacity.reserve(sizeBytes, { digest: digest(name), upstream });
    if (typeof room === "string") return room;
    this.inventory.addBlob(digest(name), sizeBytes, upstream, this.clock.now());
    room.release();
    return undefined;
  }

  has(...names: string[]): boolean[] {
    return names.map((name) => this.inventory.findSize(digest(name)) !== undefined);
  }

  /** Until what runs behind has ended. */
  async settled(): Promise<void> {
    for (let turn = 0; turn < 200; turn += 1) await new Promise((resolve) => setImmediate(resolve));
  }
}

export function withScene(limits: Limits, work: (scene: Scene) => Promise<void>): Promise<void> {
  return withRooms(async (rooms) => {
    const scene = new Scene(rooms, limits);
    try {
      await work(scene);
    } finally {
      await scene.evictor.stop();
    }
  });
}
