/**
 * Watches over the space of the store: asks the policy, with figures that are at most a second old, and has room made
 * where that helps. What is stored never exceeds the limits: room is set aside before anything is written.
 *
 * While the disk rests after a failure, everything is streamed through instead of failing pull after pull.
 */
import type { Clock } from "../base/clock.ts";
import { Failure, isFailure } from "../base/failure.ts";
import type { Emitter } from "../base/notices.ts";
import { isDatabaseError } from "../meta/database.ts";
import type { Inventory } from "../meta/inventory.ts";
import type { BlobStore } from "../store/blobstore.ts";
import { findShortage, limitOf, refusalText, type Shortage, type StoreLimits, type StoreState } from "./admission.ts";
import type { DiskReports } from "./diskhealth.ts";
import type { Keeping } from "./keeping.ts";
import type { MirrorNotices } from "./notices.ts";
import type { Newcomer, Room, RoomMaker } from "./room.ts";

export type { Room } from "./room.ts";

const FIGURES_MAX_AGE_MS = 1000;
/** Space may be given back late, and be taken by others. */
const MAX_ROUNDS = 3;
/** A fill may have received so much more than it has written. */
const UNWRITTEN_BYTES = 8 * 1024 * 1024;
/** What a blob of unknown size may take of the limit at least, where there is so much. */
const UNKNOWN_SHARE = 1 / 16;
/** Why nothing is stored while nobody knows how much is. */
const UNCOUNTED = "uncounted";
/** Not a refusal: nobody knows. */
const UNTOLD = "untold";

export interface CapacityParts {
  readonly store: Pick<BlobStore, "freeBytes"> & {
    /** Of files that should be gone, and are not. */
    readonly lingeringBytes?: number;
  };
  readonly inventory: Pick<Inventory, "bytes">;
  readonly limits: StoreLimits;
  /** Absent where nobody watches over the disk. */
  readonly health?: DiskReports;
  readonly clock: Clock;
  readonly notices: Emitter<MirrorNotices>;
  /** What is stored of an upstream; needed where one has a share. */
  readonly bytesOf?: (upstream: string) => number;
  /** What is kept of fills that ended early: it takes space as well, and leaves before anything that is whole. */
  readonly keeping?: Pick<Keeping, "bytes" | "makeRoom" | "takenBytes" | "settle">;
}

interface Reservation {
  readonly bytes: number;
  readonly upstream: string;
  readonly writtenBytes: () => number;
  /** What of it was on the disk when free space was last looked at. */
  seenBytes: number;
}

/** Why something is not stored, from the failure of a fill; undefined where the disk itself failed. */
export function refusalOf(failure: Failure): string | undefined {
  const detail = failure.detail;
  if (typeof detail !== "object" || detail === null || !("refusal" in detail)) return undefined;
  return typeof detail.refusal === "string" ? detail.refusal : undefined;
}

export function noRoom(refusal: string): Failure {
  return new Failure("storage", `there is no room to store this blob (${refusal})`, { detail: { refusal } });
}

export class Capacity {
  readonly #parts: CapacityParts;
  readonly #reservations = new Set<Reservation>();
  /** Nothing leaves for want of space before it was looked at. */
  #free = { bytes: Number.POSITIVE_INFINITY, at: Number.NEGATIVE_INFINITY };
  /** All that was ever given back: what is given back while free space is looked at may be missing there. */
  #releasedBytes = 0;
  #told: string | undefined;
  #isUncounted = false;
  #maker: RoomMaker | undefined;
  /** The end of the line of those who have room made. */
  #line: Promise<unknown> = Promise.resolve();

  constructor(parts: CapacityParts) {
    this.#parts = parts;
  }

  /** From now on room is made where there is none. */
  useMaker(maker: RoomMaker): void {
    this.#maker = maker;
  }

  /** The index does not know what is stored: nothing new is, until that was counted. @returns to be called then. */
  holdUncounted(): () => void {
    this.#isUncounted = true;
    return () => {
      this.#isUncounted = false;
    };
  }

  /**
   * Why a blob of this size is not stored now; undefined where it is. One notice for each change of mind.
   * @param newcomer room is made for it; where that is not told, an answer supposes that what is stored can leave.
   */
  async findRefusal(sizeBytes: number, newcomer?: Newcomer): Promise<string | undefined> {
    const answer = await this.#admit(sizeBytes, newcomer, () => undefined);
    return typeof answer === "string" ? answer : undefined;
  }

  /**
   * Sets room aside for a running fill, which gives it back when it ends. Room is made where there is none.
   * @param sizeBytes undefined where nobody knows: then a share of all there is.
   * @param writtenBytes how much of it has come so far.
   * @returns the room, or why there is none.
   */
  async reserve(
    sizeBytes: number | undefined,
    newcomer: Newcomer,
    writtenBytes: () => number = () => 0,
  ): Promise<Room | string> {
    return await this.#admit(sizeBytes, newcomer, (bytes) => {
      const { keeping } = this.#parts;
      const seenBytes = Math.min(bytes, keeping?.takenBytes(newcomer.digest) ?? 0);
      const reservation = { bytes, upstream: newcomer.upstream, writtenBytes, seenBytes };
      keeping?.settle(newcomer.digest);
      this.#reservations.add(reservation);
      this.#maker?.stir();
      return { limitBytes: bytes, release: () => this.#release(reservation) };
    });
  }

  /** The disk failed a write. */
  trouble(cause: unknown): void {
    this.#parts.health?.failed(cause);
  }

  /** As of the last look at the file system; 0 before the first. */
  get freeBytes(): number {
    return Number.isFinite(this.#free.bytes) ? this.#free.bytes : 0;
  }

  get limits(): StoreLimits {
    return this.#parts.limits;
  }

  /** What running fills will take counts as taken. */
  state(): StoreState {
    let [reservedBytes, missingBytes] = [0, 0];
    for (const { bytes, seenBytes } of this.#reservations) {
      reservedBytes += bytes;
      missingBytes += bytes - seenBytes;
    }
    const leavingBytes = (this.#maker?.leavingBytes ?? 0) + (this.#parts.store.lingeringBytes ?? 0);
    const takenBytes = this.#parts.keeping?.takenBytes() ?? 0;
    return {
      storedBytes: this.#parts.inventory.bytes + leavingBytes + this.#keptBytes + takenBytes + reservedBytes,
      freeBytes: this.#free.bytes - missingBytes,
    };
  }

  /** Without what it has on the disk already: room is wanted for all of it. */
  #stateBefore(newcomer: Newcomer | undefined): StoreState {
    const { storedBytes, freeBytes } = this.state();
    const takenBytes = newcomer === undefined ? 0 : (this.#parts.keeping?.takenBytes(newcomer.digest) ?? 0);
    return { storedBytes: storedBytes - takenBytes, freeBytes: freeBytes + takenBytes };
  }

  /** What an upstream has, what is on its way counted in. */
  stateOf(upstream: string): number {
    let bytes = this.#parts.bytesOf?.(upstream) ?? 0;
    for (const reservation of this.#reservations) if (reservation.upstream === upstream) bytes += reservation.bytes;
    return bytes;
  }

  /** Looks at the file system's free space. @returns "storage" where it cannot be told. */
  async look(): Promise<"storage" | undefined> {
    const { store, clock } = this.#parts;
    const before = this.#releasedBytes;
    const seen = [...this.#reservations].map(
      (one) => [one, Math.max(0, one.writtenBytes() - UNWRITTEN_BYTES)] as const,
    );
    try {
      const bytes = await store.freeBytes();
      this.#free = { bytes: bytes - (this.#releasedBytes - before), at: clock.now() };
    } catch (error) {
      if (!isFailure(error, "storage")) throw error;
      this.#parts.health?.failed(error);
      return "storage";
    }
    for (const [reservation, seenBytes] of seen) reservation.seenBytes = Math.min(seenBytes, reservation.bytes);
    return undefined;
  }

  async #admit<T>(
    sizeBytes: number | undefined,
    newcomer: Newcomer | undefined,
    take: (bytes: number) => T,
  ): Promise<T | string> {
    // That the index was lost, and is being rebuilt, was told.
    if (this.#isUncounted) return UNCOUNTED;
    let taken: T | string;
    try {
      taken = await this.#tryAdmit(sizeBytes, newcomer, take);
    } catch (cause) {
      if (!isDatabaseError(cause)) throw cause;
      // An index in trouble must not cost anybody a pull.
      const message = "it cannot be told whether there is room: new content is streamed through and not kept";
      if (this.#told !== UNTOLD) this.#parts.notices.emit("storageTrouble", { message, cause });
      this.#told = UNTOLD;
      return "storage";
    }
    const why = typeof taken === "string" ? taken : undefined;
    // What is refused for what it is does not mean that others are.
    if (why !== "admission" && why !== "upstream-share") this.#tell(why);
    return taken;
  }

  async #tryAdmit<T>(
    sizeBytes: number | undefined,
    newcomer: Newcomer | undefined,
    take: (bytes: number) => T,
  ): Promise<T | string> {
    const now = this.#parts.clock.now();
    if (this.#parts.health?.isResting === true) return "storage";
    if (Math.abs(now - this.#free.at) > FIGURES_MAX_AGE_MS && (await this.look()) !== undefined) return "storage";
    const maker = this.#maker;
    const bytes = sizeBytes ?? this.#unknownBytes();
    let shortage = this.#shortage(bytes, newcomer);
    if (shortage === undefined) return take(bytes);
    const isHopeless = this.#isHopeless(bytes, newcomer);
    if (newcomer !== undefined && !isHopeless && (await this.#dropKept(shortage))) {
      if ((await this.look()) !== undefined) return "storage";
      shortage = this.#shortage(bytes, newcomer);
      if (shortage === undefined) return take(bytes);
    }
    if (maker === undefined || isHopeless) return refusalText(shortage.need);
    // Whoever only asks is told again when it comes.
    if (newcomer === undefined) return take(bytes);
    return await this.#inTurn(() => this.#make(maker, bytes, newcomer, take));
  }

  async #make<T>(maker: RoomMaker, sizeBytes: number, newcomer: Newcomer, take: (bytes: number) => T) {
    for (let round = 0; ; round += 1) {
      if ((await this.look()) !== undefined) return "storage";
      const shortage = this.#shortage(sizeBytes, newcomer);
      if (shortage === undefined) return take(sizeBytes);
      if (round === MAX_ROUNDS || this.#isHopeless(sizeBytes, newcomer)) return refusalText(shortage.need);
      const limitBytes = limitOf(this.limits, this.state());
      const why = await maker.makeRoom({ ...shortage, limitBytes, newcomer: { ...newcomer, sizeBytes } });
      if (why !== undefined) return why;
    }
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const turn = this.#line.then(work);
    this.#line = turn.catch(() => {});
    return turn;
  }

  #shortage(sizeBytes: number, newcomer: Newcomer | undefined): Shortage | undefined {
    const share = newcomer === undefined ? undefined : this.limits.shares?.get(newcomer.upstream);
    if (newcomer !== undefined && share !== undefined) {
      const bytes = this.stateOf(newcomer.upstream) + sizeBytes - share;
      if (bytes > 0) return { need: "upstream-share", bytes };
    }
    return findShortage(this.limits, this.#stateBefore(newcomer), sizeBytes);
  }

  /** It would not fit if everything left that is stored. */
  #isHopeless(sizeBytes: number, newcomer: Newcomer | undefined): boolean {
    const state = this.#stateBefore(newcomer);
    const share = newcomer === undefined ? undefined : this.limits.shares?.get(newcomer.upstream);
    const reservedBytes = state.storedBytes - this.#parts.inventory.bytes - this.#keptBytes;
    return sizeBytes > limitOf(this.limits, state) - reservedBytes || (share !== undefined && sizeBytes > share);
  }

  get #keptBytes(): number {
    return this.#parts.keeping?.bytes ?? 0;
  }

  /** @returns whether anything has left. */
  async #dropKept({ need, bytes }: Shortage): Promise<boolean> {
    const { keeping } = this.#parts;
    if (keeping === undefined || keeping.bytes === 0 || need === "upstream-share") return false;
    return (await keeping.makeRoom(bytes)) > 0;
  }

  /** Nobody says how large it is: so it may not take all, and is stopped there. */
  #unknownBytes(): number {
    const state = this.state();
    const limit = limitOf(this.limits, state);
    return Math.max(1, Math.floor(Math.max(limit * UNKNOWN_SHARE, (limit - state.storedBytes) / 2)));
  }

  #release(reservation: Reservation): void {
    if (!this.#reservations.delete(reservation)) return;
    const missingBytes = reservation.bytes - reservation.seenBytes;
    // It may be on the disk by now, which the last look did not see.
    this.#releasedBytes += missingBytes;
    this.#free = { ...this.#free, bytes: this.#free.bytes - missingBytes };
  }

  #tell(why: string | undefined): void {
    // What is wrong with the disk is told by whoever watches over it.
    if (why !== this.#told && why !== undefined && why !== "storage") {
      this.#parts.notices.emit("storageTrouble", {
        message: `new content is streamed through and not kept (${why}): free space, or raise cache.maxSize`,
        cause: undefined,
      });
    }
    this.#told = why;
  }
}
