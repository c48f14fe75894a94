/** A store with its index and nothing in front of it, as the commands see it where no mirror runs. */
import { Claims } from "../../src/bundle/claims.ts";
import { Relations } from "../../src/meta/relations.ts";
import type { Place } from "../../src/meta/repositories.ts";
import type { StoreLimits } from "../../src/mirror/admission.ts";
import { Capacity } from "../../src/mirror/capacity.ts";
import { Shelf } from "../../src/mirror/shelf.ts";
import type { Digest } from "../../src/oci/digest.ts";
import { parseTag } from "../../src/oci/reference.ts";
import { DiskStore } from "../../src/store/disk.ts";
import { ManualClock } from "../kit/clock.ts";
import type { TestImage, TestIndex } from "../kit/image.ts";
import { filesUnder } from "../kit/residue.ts";
import { makeTempDir, type TempDir } from "../kit/temp.ts";
import { openRooms } from "../meta/rooms.ts";
import { recorded } from "../mirror/parts.ts";

export class Stage {
  readonly dir: TempDir;
  readonly rooms: ReturnType<typeof openRooms>;
  readonly relations: Relations;
  readonly store: DiskStore;
  readonly clock: ManualClock;
  readonly capacity: Capacity;
  readonly shelf: Shelf;
  readonly limits: StoreLimits;
  readonly claims = new Claims();

  private constructor(dir: TempDir, store: DiskStore, maxBytes: number | undefined) {
    this.dir = dir;
    this.store = store;
    this.clock = new ManualClock();
    this.rooms = openRooms(dir.path);
    this.relations = new Relations(this.rooms.database);
    const { inventory, graph } = this.rooms;
    const { clock } = this;
    const { notices } = recorded("storageTrouble");
    this.limits = { maxBytes, minFreeBytes: 0 };
    this.capacity = new Capacity({ store, inventory, limits: this.limits, clock, notices });
    this.shelf = new Shelf({ store, capacity: this.capacity, inventory, graph, clock, notices });
  }

  static async open({ maxBytes }: { maxBytes?: number } = {}): Promise<Stage> {
    const dir = await makeTempDir("stage");
    return new Stage(dir, await DiskStore.open(dir.path), maxBytes);
  }

  get parts() {
    const { relations, shelf, store, clock, capacity, limits, claims } = this;
    return { ...this.rooms, relations, shelf, store, clock, capacity, limits, claims };
  }

  /** Stores what an upstream would have served. @param without blobs that were never pulled. */
  async put(place: Place, image: TestImage | TestIndex, tag?: string, without: readonly Digest[] = []): Promise<void> {
    if ("images" in image) for (const one of image.images) await this.put(place, one, undefined, without);
    else
      for (const [digest, bytes] of image.blobs)
        if (!without.includes(digest)) await this.putBlob(place, digest, bytes);
    const { manifest, mediaType, digest } = image;
    if (without.includes(digest)) return;
    await this.shelf.keep(place, { bytes: manifest, mediaType, digest }, digest);
    if (tag !== undefined) this.rooms.tags.put(place, parseTag(tag), digest, this.clock.now());
  }

  async putBlob(place: Place, digest: Digest, bytes: Buffer): Promise<void> {
    if (this.rooms.inventory.findSize(digest) !== undefined) return;
    const ingest = await this.store.ingest(digest);
    ingest.declareSize(bytes.length);
    ingest.write(bytes);
    await (await ingest.finish()).stored;
    ingest.close();
    this.rooms.inventory.addBlob(digest, bytes.length, place.upstream, this.clock.now());
  }

  /** Names of the files below `blobs`, and of whatever else was left behind. */
  async files(): Promise<{ blobs: string[]; partial: string[] }> {
    const blobs = (await filesUnder(`${this.dir.path}/blobs`)).map((path) => path.split("/").at(-1) ?? "");
    return { blobs: blobs.sort(), partial: await filesUnder(`${this.dir.path}/partial`) };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.store.stop();
    this.rooms.database.close();
    await this.dir[Symbol.asyncDispose]();
  }
}
