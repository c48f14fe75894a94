/**
 * Keeps room in the store: makes it at once for who wants it, and behind, between two watermarks, before it is wanted.
 *
 * One thing at a time: a sweep leaves its turn to whoever waits after each few units. Nothing leaves for a newcomer that
 * there would still be no room for, and nothing that is in use leaves at all. Where nobody can be asked for it again
 * (offline), nothing leaves behind: only for what is brought in, and no more than that needs.
 */
import type { Clock } from "../base/clock.ts";
import { isFailure } from "../base/failure.ts";
import type { Emitter } from "../base/notices.ts";
import { isDatabaseError } from "../meta/database.ts";
import type { Holdings } from "../meta/holdings.ts";
import type { Inventory } from "../meta/inventory.ts";
import type { Usage } from "../meta/usage.ts";
import { findExcess, isSmall, limitOf, type Need, refusalText, type Watermarks } from "../mirror/admission.ts";
import type { Capacity } from "../mirror/capacity.ts";
import type { Keeping } from "../mirror/keeping.ts";
import type { MirrorNotices } from "../mirror/notices.ts";
import type { RoomMaker, RoomWanted } from "../mirror/room.ts";
import type { Shelf } from "../mirror/shelf.ts";
import type { Digest } from "../oci/digest.ts";
import type { DiskStore } from "../store/disk.ts";
import { Candidates, type Choice, type Unit } from "./candidates.ts";
import { Removal, type Removed } from "./removal.ts";
import { Slices } from "./slices.ts";
import { findStranded } from "./stranded.ts";

export interface EvictorParts {
  readonly capacity: Pick<Capacity, "state" | "stateOf" | "limits" | "look">;
  readonly holdings: Holdings;
  readonly inventory: Pick<Inventory, "addBlob">;
  readonly usage: Pick<Usage, "isNoted" | "worthOf">;
  readonly shelf: Pick<Shelf, "forget">;
  readonly store: Pick<DiskStore, "discard" | "has" | "isOpen" | "retryRemoving">;
  /** What is kept of fills that ended early leaves before anything that is whole. */
  readonly keeping?: Pick<Keeping, "bytes" | "makeRoom">;
  /** Whether a fill of it runs, or somebody reads what one has written, or another process reads it. */
  readonly isFilling: (digest: Digest) => boolean;
  readonly marks: Watermarks;
  /** False: what leaves cannot be had again. */
  readonly isOnline?: boolean;
  readonly clock: Clock;
  readonly notices: Emitter<MirrorNotices>;
}

/** What should leave, and of whom. */
interface Work {
  readonly need: Need;
  readonly bytes: number;
  readonly from: string | undefined;
  /** A limit is broken already: others took the space, or it was lowered. */
  readonly broken: boolean;
}

const LOOK_MS = 5000;
const REST_MS = 30_000;
const FRUITLESS_MS = 5000;
/** A walk over everything that has found nothing is not made again for so long. */
const STRANDED_MS = 10 * 60_000;
/** Who waits is told soon that there is nothing. */
const MAX_LOOKED = 5000;
const SWEEP_UNITS = 64;
const MAX_GHOSTS = 50_000;
/** What is begun is ended: that takes milliseconds. */
const UNENDING = new AbortController().signal;
const NOTHING: ReadonlySet<Digest> = new Set();
const ANYTHING = Number.POSITIVE_INFINITY;

export class Evictor implements RoomMaker {
  readonly #parts: EvictorParts;
  readonly #removal: Removal;
  readonly #isBusy: (digest: Digest) => boolean;
  #line: Promise<unknown> = Promise.resolve();
  #sweeping: Promise<void> | undefined;
  /** After trouble nothing is removed. */
  #restUntil = 0;
  /** Where nothing may leave, another walk over it all would find nothing either. */
  #noSweepUntil = 0;
  #noStrandedUntil = 0;
  #cancelLook = () => {};
  #warned = false;
  #stopped = false;

  constructor(parts: EvictorParts) {
    this.#parts = parts;
    this.#isBusy = (digest) => parts.store.isOpen(digest) || parts.isFilling(digest);
    this.#removal = new Removal({ ...parts, isBusy: this.#isBusy });
  }

  get leavingBytes(): number {
    return this.#removal.leavingBytes;
  }

  /** Without a usable index nothing leaves, and whoever wants room goes on without. */
  makeRoom(wanted: RoomWanted): Promise<string | undefined> {
    return this.#inTurn(async () => {
      try {
        return await this.#make(wanted);
      } catch (cause) {
        if (!isDatabaseError(cause)) throw cause;
        this.#trouble(cause);
        return "storage";
      }
    });
  }

  stir(): void {
    if (this.#stopped || this.#sweeping !== undefined || this.#isResting()) return;
    if (this.#isAhead(this.#noSweepUntil)) return;
    const work = this.#findWork();
    if (work === undefined) return;
    if (this.#parts.isOnline === false) {
      if (work.broken) this.#warn();
      return;
    }
    this.#sweeping = this.#sweep()
      .catch((cause: unknown) => this.#trouble(cause))
      .finally(() => {
        this.#sweeping = undefined;
      });
  }

  /** From now on looks whether others have taken the space. */
  start(): void {
    const look = async () => {
      try {
        await this.#parts.store.retryRemoving();
        if ((await this.#parts.capacity.look()) === undefined) this.stir();
        this.#parts.holdings.trimGhosts(MAX_GHOSTS);
      } catch (cause) {
        this.#trouble(cause);
      }
      if (!this.#stopped) this.#cancelLook = this.#parts.clock.after(LOOK_MS, look);
    };
    this.#cancelLook = this.#parts.clock.after(0, look);
  }

  /** Resolves when nothing runs any more. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#cancelLook();
    await this.#sweeping;
    await this.#line;
  }

  async #make({ need, bytes, limitBytes, newcomer }: RoomWanted): Promise<string | undefined> {
    if (this.#stopped || this.#isResting()) return refusalText(need);
    const { holdings, usage } = this.#parts;
    const { digest, sizeBytes } = newcomer;
    const family = holdings.ancestorsOf(digest).add(digest);
    const worth = [...family].reduce((most, of) => Math.max(most, usage.worthOf(of)), usage.worthOf(digest, 1));
    // What was pinned is wanted, however little it was used so far.
    const pinned = holdings.isPinned(digest);
    const small = isSmall(Math.max(sizeBytes, holdings.findPackBytes(digest) ?? 0), limitBytes);
    const below = pinned || small ? ANYTHING : worth;
    const startedAt = performance.now();
    const slices = new Slices(UNENDING);
    const from = need === "upstream-share" ? newcomer.upstream : undefined;
    const units: Unit[] = [];
    const spare = new Set(family);
    let [freed, outbid] = [0, false];
    // What was used just now only where nothing else will do, and for what is worth more.
    for (const recent of [false, true]) {
      const choice = { from, below: recent && !pinned ? Math.min(below, worth) : below, recent, spare };
      const candidates = new Candidates({ ...this.#parts, isBusy: this.#isBusy }, choice, slices);
      while (freed < bytes && candidates.looked < MAX_LOOKED) {
        const unit = await candidates.next();
        if (unit === undefined) break;
        units.push(unit);
        spare.add(unit.root.digest);
        freed += bytesOf(unit, from);
      }
      outbid ||= candidates.outbid;
    }
    if (freed < bytes) return outbid ? "admission" : refusalText(need);
    this.#tellEnd(need, await this.#remove(units, need, slices), startedAt);
    return undefined;
  }

  async #sweep(): Promise<void> {
    const startedAt = performance.now();
    const all = nothing();
    let need: Need | undefined;
    for (let work = this.#findWork(); work !== undefined && !this.#stopped; work = this.#findWork(true)) {
      if (await this.#dropKept(work)) {
        if ((await this.#parts.capacity.look()) !== undefined) break;
        continue;
      }
      need ??= work.need;
      const removed = await this.#sweepOnce(work);
      add(all, removed);
      if (removed.failure !== undefined || (await this.#parts.capacity.look()) !== undefined) break;
      if (removed.blobs > 0) continue;
      this.#noSweepUntil = this.#parts.clock.now() + FRUITLESS_MS;
      break;
    }
    if (need !== undefined) this.#tellEnd(need, all, startedAt);
  }

  /** @returns whether anything has left. */
  async #dropKept({ need, bytes }: Work): Promise<boolean> {
    const { keeping } = this.#parts;
    if (keeping === undefined || keeping.bytes === 0 || need === "upstream-share") return false;
    return (await keeping.makeRoom(bytes)) > 0;
  }

  #tellEnd(reason: Need, { images, blobs, bytes }: Removed, startedAt: number): void {
    if (blobs === 0) return;
    const durationMs = performance.now() - startedAt;
    this.#parts.notices.emit("evictionEnded", { reason, images, blobs, bytes, durationMs });
  }

  /** One walk over what may leave, a turn for each few units. */
  async #sweepOnce({ need, bytes, from, broken }: Work): Promise<Removed> {
    const sum = nothing();
    const slices = new Slices(UNENDING);
    for (const recent of broken ? [false, true] : [false]) {
      const choice: Choice = { from, below: ANYTHING, recent, spare: NOTHING };
      const candidates = new Candidates({ ...this.#parts, isBusy: this.#isBusy }, choice, slices);
      for (let more = true; more && sum.bytes < bytes && sum.failure === undefined && !this.#stopped; ) {
        more = await this.#inTurn(async () => {
          const units: Unit[] = [];
          let planned = sum.bytes;
          while (units.length < SWEEP_UNITS && planned < bytes) {
            const unit = await candidates.next();
            if (unit === undefined) break;
            units.push(unit);
            planned += bytesOf(unit, from);
          }
          add(sum, await this.#remove(units, need, slices));
          return units.length > 0;
        });
      }
    }
    if (sum.blobs > 0 || !broken || this.#isAhead(this.#noStrandedUntil, STRANDED_MS)) return sum;
    const stranded = await findStranded({ ...this.#parts, isBusy: this.#isBusy }, bytes, slices);
    if (stranded.length === 0) this.#noStrandedUntil = this.#parts.clock.now() + STRANDED_MS;
    add(sum, await this.#inTurn(() => this.#remove(stranded, need, slices, true)));
    return sum;
  }

  async #remove(units: readonly Unit[], need: Need, slices: Slices, forced = false): Promise<Removed> {
    const removed = await this.#removal.remove(units, need, slices, forced);
    if (removed.failure !== undefined) this.#trouble(removed.failure);
    this.#parts.holdings.trimGhosts(MAX_GHOSTS);
    return removed;
  }

  /** @param going to the low watermark, as it has begun. */
  #findWork(going = false): Work | undefined {
    const { capacity, marks } = this.#parts;
    const from = going ? { high: marks.low, low: marks.low } : marks;
    const state = capacity.state();
    const excess = findExcess(capacity.limits, state, from);
    if (excess !== undefined) {
      return { ...excess, from: undefined, broken: state.storedBytes > limitOf(capacity.limits, state) };
    }
    for (const [upstream, share] of capacity.limits.shares ?? []) {
      const bytes = capacity.stateOf(upstream);
      if (bytes <= share * from.high) continue;
      return {
        need: "upstream-share",
        bytes: Math.ceil(bytes - share * from.low),
        from: upstream,
        broken: bytes > share,
      };
    }
    return undefined;
  }

  #warn(): void {
    if (this.#warned) return;
    this.#warned = true;
    const message =
      "the cache is over its limits, and keeps what it has, which cannot be had again offline: free space, or raise cache.maxSize";
    this.#parts.notices.emit("storageTrouble", { message, cause: undefined });
  }

  #isResting(): boolean {
    return this.#isAhead(this.#restUntil);
  }

  /** Not for long, whatever was done to the clock. */
  #isAhead(until: number, mostMs = REST_MS): boolean {
    const leftMs = until - this.#parts.clock.now();
    return leftMs > 0 && leftMs <= mostMs;
  }

  #trouble(cause: unknown): void {
    this.#restUntil = this.#parts.clock.now() + REST_MS;
    const message = isFailure(cause, "storage") ? "nothing can be removed to make room" : "making room failed";
    this.#parts.notices.emit("storageTrouble", { message, cause });
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const turn = this.#line.then(work);
    this.#line = turn.catch(() => {});
    return turn;
  }
}

function bytesOf({ members }: Unit, from: string | undefined): number {
  let bytes = 0;
  for (const { sizeBytes, upstream } of members) if (from === undefined || upstream === from) bytes += sizeBytes;
  return bytes;
}

function nothing(): Removed {
  return { images: 0, blobs: 0, bytes: 0, failure: undefined };
}

function add(sum: Removed, one: Removed): void {
  sum.images += one.images;
  sum.blobs += one.blobs;
  sum.bytes += one.bytes;
  sum.failure ??= one.failure;
}
