/**
 * Brings blobs here by the same fills as clients' pulls, each once in a run however many images name it.
 *
 * The invariant: a blob that resolved is stored, and may be read in its repository.
 */
import type { Clock } from "../base/clock.ts";
import { Failure, isFailure } from "../base/failure.ts";
import type { Notices } from "../base/notices.ts";
import { unlessAborted } from "../base/singleflight.ts";
import type { Graph } from "../meta/graph.ts";
import type { Inventory } from "../meta/inventory.ts";
import { placeKey } from "../meta/repositories.ts";
import { refusalOf } from "../mirror/capacity.ts";
import type { MirrorNotices } from "../mirror/notices.ts";
import type { Origin } from "../mirror/origin.ts";
import { mayRead } from "../mirror/permission.ts";
import type { Route } from "../mirror/route.ts";
import type { Descriptor } from "../oci/descriptor.ts";
import type { Digest } from "../oci/digest.ts";
import type { BlobStore } from "../store/blobstore.ts";
import { type Absence, isAbsence } from "../upstream/upstream.ts";
import type { WarmPace } from "./warm-pace.ts";
import { Piece, type Tally } from "./warm-tally.ts";
import { keepWorth, type Worth } from "./warm-worth.ts";

export interface WarmBlobParts {
  readonly origin: Pick<Origin, "confirmBlob" | "fillBlob" | "findFill">;
  readonly graph: Pick<Graph, "findReachable">;
  readonly inventory: Pick<Inventory, "findSize" | "findUpstream" | "addBlob" | "dropBlob">;
  readonly store: Pick<BlobStore, "has" | "open" | "remove">;
  readonly usage: Worth;
  readonly clock: Clock;
  readonly notices: Notices<MirrorNotices>;
}

export interface WarmBlobSettings {
  readonly pace: WarmPace;
  /** Of the whole run. */
  readonly tally: Tally;
  readonly signal: AbortSignal;
}

/** How a blob came to be here. */
export interface WarmedBlob {
  readonly sizeBytes: number;
  /** False where it was stored before. */
  readonly fetched: boolean;
}

export class WarmBlobs {
  readonly #parts: WarmBlobParts;
  readonly #settings: WarmBlobSettings;
  readonly #pieces = new Map<Digest, Piece>();
  /** By place and digest, with who wants it. */
  readonly #running = new Map<string, { readonly outcome: Promise<WarmedBlob>; readonly wanted: (() => boolean)[] }>();

  constructor(parts: WarmBlobParts, settings: WarmBlobSettings) {
    this.#parts = parts;
    this.#settings = settings;
  }

  /** Counted once, however many images name it. */
  pieceOf({ digest, sizeBytes }: Pick<Descriptor, "digest" | "sizeBytes">): Piece {
    const known = this.#pieces.get(digest);
    if (known !== undefined && !known.isLost) return known;
    const piece = new Piece(sizeBytes);
    this.#pieces.set(digest, piece);
    this.#settings.tally.add(piece);
    return piece;
  }

  /**
   * @param ask asks an upstream, and again where that may help.
   * @param isWanted false as soon as whoever asks has no use for it any more.
   * @throws Failure.
   */
  bring(
    route: Route,
    blob: Descriptor,
    ask: (question: () => Promise<WarmedBlob>) => Promise<WarmedBlob>,
    isWanted: () => boolean,
  ): Promise<WarmedBlob> {
    const key = `${placeKey(route)}@${blob.digest}`;
    const running = this.#running.get(key);
    if (running !== undefined) {
      running.wanted.push(isWanted);
      // By another image of this run, which told of its bytes.
      return running.outcome.then(({ sizeBytes }) => ({ sizeBytes, fetched: false }));
    }
    const piece = this.pieceOf(blob);
    const wanted = [isWanted];
    const outcome = ask(() => this.#bring(route, blob, piece, wanted)).then(
      (warmed) => {
        piece.arrived();
        return warmed;
      },
      (error: unknown) => {
        // Another image may have more luck.
        this.#running.delete(key);
        piece.lost();
        throw error;
      },
    );
    outcome.catch(() => {});
    this.#running.set(key, { outcome, wanted });
    return outcome;
  }

  async #bring(route: Route, blob: Descriptor, piece: Piece, wanted: readonly (() => boolean)[]): Promise<WarmedBlob> {
    const { pace, signal } = this.#settings;
    signal.throwIfAborted();
    const stored = await this.#findReadable(route, blob.digest);
    if (stored !== undefined) return stored;
    const release = await pace.turn(route.source, blob.digest, signal);
    try {
      // While it waited its image may have failed, or somebody have brought it.
      if (!wanted.some((is) => is())) throw new Failure("unsupported", "given up");
      const brought = await this.#findReadable(route, blob.digest);
      if (brought !== undefined) return brought;
      await this.#fill(route, blob, piece);
    } finally {
      piece.progress = undefined;
      release();
    }
    const sizeBytes = this.#parts.inventory.findSize(blob.digest);
    if (sizeBytes === undefined) throw notKept("the index did not take it");
    return { sizeBytes, fetched: true };
  }

  async #findReadable(route: Route, digest: Digest): Promise<WarmedBlob | undefined> {
    const sizeBytes = await this.#findStored(digest);
    if (sizeBytes === undefined) return undefined;
    await this.#permit(route, digest, undefined);
    keepWorth(this.#parts.usage, digest);
    return { sizeBytes, fetched: false };
  }

  /** Its size, where it is stored whole. What is not as long as it was when it was stored is no blob. */
  async #findStored(digest: Digest): Promise<number | undefined> {
    const { inventory, store } = this.#parts;
    const expected = inventory.findSize(digest);
    if (expected === undefined && !store.has(digest)) return undefined;
    const follower = await store.open(digest, expected);
    follower?.close();
    if (follower !== undefined && (expected === undefined || follower.sizeBytes === expected)) {
      if (expected === undefined) inventory.addBlob(digest, follower.sizeBytes, "", 0);
      return follower.sizeBytes;
    }
    if (follower !== undefined) await store.remove(digest);
    inventory.dropBlob(digest);
    return undefined;
  }

  /** What is stored of another upstream, or only named, has to be confirmed by this one, as for a client. */
  async #permit(route: Route, digest: Digest, filledFrom: string | undefined): Promise<void> {
    const { graph, inventory, origin } = this.#parts;
    const from = inventory.findUpstream(digest) ?? filledFrom;
    if (mayRead(graph.findReachable(route, digest), from, route.upstream)) return;
    const head = await unlessAborted(origin.confirmBlob(route, digest).outcome, this.#settings.signal);
    if (isAbsence(head)) throw absentBlob(route, digest, head);
  }

  async #fill(route: Route, { digest, sizeBytes }: Descriptor, piece: Piece): Promise<void> {
    const { origin } = this.#parts;
    const { signal } = this.#settings;
    const end = this.#endOf(digest);
    try {
      const ticket = origin.fillBlob(route, digest, sizeBytes < 0 ? undefined : sizeBytes);
      try {
        piece.progress = () => ticket.progress().visibleBytes;
        const isForeign = placeKey(ticket.place) !== placeKey(route);
        const absence = await unlessAborted(ticket.ready, signal);
        if (absence !== undefined) {
          // Of another repository, which says nothing of this one.
          if (isForeign) throw new Failure("unreachable", `${digest} could not be had from ${ticket.place.upstream}`);
          throw absentBlob(route, digest, absence);
        }
        const failure = await unlessAborted(end.outcome, signal);
        if (failure !== undefined) throw failure;
        if (ticket.joined) await this.#permit(route, digest, ticket.place.upstream);
      } finally {
        ticket.release();
      }
    } catch (error) {
      if (isFailure(error, "storage")) throw notKept(refusalOf(error) ?? error.message);
      throw error;
    } finally {
      end.forget();
    }
  }

  /** How the fill of a digest ends that runs, or is begun next. */
  #endOf(digest: Digest): { readonly outcome: Promise<Error | undefined>; forget(): void } {
    const { promise, resolve } = Promise.withResolvers<Error | undefined>();
    const forget = this.#parts.notices.on("fillEnded", (fact) => {
      if (fact.digest === digest) resolve(fact.failure);
    });
    return { outcome: promise, forget };
  }
}

const REFUSALS: Readonly<Record<string, string>> = {
  "cache-full": "the cache is full",
  "disk-full": "the disk is full",
  uncounted: "the index was lost, and what is stored is still being counted",
  storage: "the disk failed",
};

/** @param why a reason of the capacity's, or words. */
export function notKept(why: string): Failure {
  return new Failure("storage", `not kept: ${REFUSALS[why] ?? why}`);
}

function absentBlob(route: Route, digest: Digest, { absent }: Absence): Failure {
  const words = absent === "denied" ? "does not give us" : "has no";
  return new Failure(absent, `${route.upstream} ${words} blob ${digest} of ${route.repository}`);
}
