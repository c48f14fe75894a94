/**
 * The front's answer to a request for a blob: the stored file, a follower of the running fill, or bytes passed through.
 *
 * Permission comes first: having the bytes is none. A HEAD never makes the mirror download anything.
 */
import type { Readable } from "node:stream";
import { Failure, isFailure } from "../base/failure.ts";
import type { Emitter } from "../base/notices.ts";
import { unlessAborted } from "../base/singleflight.ts";
import type { Graph } from "../meta/graph.ts";
import type { Inventory } from "../meta/inventory.ts";
import { placeKey } from "../meta/repositories.ts";
import type { Digest } from "../oci/digest.ts";
import type { BlobStore } from "../store/blobstore.ts";
import type { Follower } from "../store/follower.ts";
import { type Absence, isAbsence } from "../upstream/upstream.ts";
import { type AbsentAnswer, absent } from "./absent.ts";
import type { Caller } from "./caller.ts";
import { type Capacity, refusalOf } from "./capacity.ts";
import { planRange } from "./fillpolicy.ts";
import type { MirrorNotices } from "./notices.ts";
import type { Origin } from "./origin.ts";
import type { Passes } from "./passes.ts";
import { Passing } from "./passing.ts";
import { mayRead } from "./permission.ts";
import type { Route } from "./route.ts";
import type { Slice } from "./slice.ts";
import type { Ticket } from "./ticket.ts";
import type { Verdict } from "./verdict.ts";

export interface BlobAnswer {
  readonly digest: Digest;
  readonly sizeBytes: number;
  readonly verdict: Verdict;
  /** Any piece of the blob can be read from it. Undefined where no body was asked for. Whoever gets it closes it. */
  readonly follower?: Follower;
  /** The requested slice or, with no `passedSlice`, the whole blob. Whoever gets it reads or destroys it. */
  readonly passed?: Readable;
  readonly passedSlice?: Slice;
}

export interface BlobParts {
  readonly notices: Emitter<MirrorNotices>;
  readonly store: Pick<BlobStore, "has" | "open" | "remove">;
  readonly inventory: Pick<Inventory, "findSize" | "findUpstream" | "addBlob" | "dropBlob">;
  readonly graph: Pick<Graph, "findReachable">;
  readonly origin: Origin;
  readonly capacity: Pick<Capacity, "findRefusal">;
  readonly passes: Passes;
}

/** How often a client whose fill failed elsewhere has its own upstream asked. */
const MAX_ROUNDS = 3;

export class Blobs {
  readonly #passing: Passing;
  readonly #parts: BlobParts;

  constructor(parts: BlobParts) {
    this.#parts = parts;
    this.#passing = new Passing(parts.passes);
  }

  /** For HEAD. @throws Failure. */
  async head(route: Route, digest: Digest, caller: Caller): Promise<BlobAnswer | AbsentAnswer> {
    const { origin } = this.#parts;
    const opened = await this.#openPermitted(route, digest, caller);
    if (opened !== undefined) {
      if ("absence" in opened) return opened;
      opened.follower.close();
      return { digest, sizeBytes: opened.follower.sizeBytes, verdict: opened.verdict };
    }
    const remembered = origin.findAbsence(route, digest);
    if (remembered !== undefined) return absent(remembered, true);
    const flight = origin.confirmBlob(route, digest);
    const head = await unlessAborted(flight.outcome, caller.signal);
    if (isAbsence(head)) return absent(head, false);
    const sizeBytes = head.sizeBytes ?? this.#sizeHint(route, digest);
    if (sizeBytes === undefined) throw new Failure("unreachable", "the upstream does not tell the blob's size");
    return { digest, sizeBytes, verdict: flight.joined ? { cache: "joined" } : { cache: "miss", stored: false } };
  }

  /**
   * For GET.
   * @param findSlice the one slice that the client wants of a blob of this size, if it wants just one.
   * @throws Failure.
   */
  async answer(
    route: Route,
    digest: Digest,
    findSlice: (sizeBytes: number) => Slice | undefined,
    caller: Caller,
  ): Promise<BlobAnswer | AbsentAnswer> {
    const opened = await this.#openPermitted(route, digest, caller);
    if (opened !== undefined) {
      if ("absence" in opened) return opened;
      return { digest, sizeBytes: opened.follower.sizeBytes, verdict: opened.verdict, follower: opened.follower };
    }
    const remembered = this.#parts.origin.findAbsence(route, digest);
    if (remembered !== undefined) return absent(remembered, true);
    const sizeHint = this.#sizeHint(route, digest);
    if (this.#parts.origin.findFill(digest) === undefined) {
      const refusal = await this.#parts.capacity.findRefusal(sizeHint ?? 0);
      if (refusal !== undefined) return await this.#passWhole(route, digest, sizeHint, refusal, caller);
    }
    for (let round = 1; ; round += 1) {
      const answer = await this.#fill(route, digest, sizeHint, findSlice, caller, round < MAX_ROUNDS);
      if (answer !== "ask again") return answer;
    }
  }

  async #fill(
    route: Route,
    digest: Digest,
    sizeHint: number | undefined,
    findSlice: (sizeBytes: number) => Slice | undefined,
    caller: Caller,
    mayAskAgain: boolean,
  ): Promise<BlobAnswer | AbsentAnswer | "ask again"> {
    const ticket = this.#parts.origin.fillBlob(route, digest, sizeHint);
    // What another repository's upstream has not, or fails to send, says nothing of this one.
    const foreign = () => mayAskAgain && ticket.joined && placeKey(ticket.place) !== placeKey(route);
    try {
      const absence = await unlessAborted(ticket.ready, caller.signal);
      if (absence !== undefined) {
        ticket.release();
        return foreign() ? "ask again" : absent(absence, false);
      }
      const refused = ticket.joined ? await this.#findRefused(route, digest, ticket, caller) : undefined;
      if (refused !== undefined) {
        ticket.release();
        return absent(refused, false);
      }
      return (await this.#passSlice(route, digest, ticket, findSlice, caller)) ?? followed(digest, ticket);
    } catch (error) {
      ticket.release();
      // The disk, not the upstream: this pull need not suffer for it.
      if (!isFailure(error, "storage")) {
        if (foreign() && isFailure(error)) return "ask again";
        throw error;
      }
      const refusal = refusalOf(error);
      return await this.#passWhole(route, digest, sizeHint, refusal ?? "storage", caller);
    }
  }

  /**
   * A fill that began elsewhere after we looked: it is joined all the same, but what another repository is sent is no
   * permission in this one.
   */
  async #findRefused(route: Route, digest: Digest, ticket: Ticket, caller: Caller): Promise<Absence | undefined> {
    const { graph, origin } = this.#parts;
    if (mayRead(graph.findReachable(route, digest), ticket.place.upstream, route.upstream)) return undefined;
    const head = await unlessAborted(origin.confirmBlob(route, digest).outcome, caller.signal);
    return isAbsence(head) ? head : undefined;
  }

  /** Opens what is stored, if this repository may have it. Undefined where it has to be fetched. */
  async #openPermitted(
    route: Route,
    digest: Digest,
    caller: Caller,
  ): Promise<{ follower: Follower; verdict: Verdict } | AbsentAnswer | undefined> {
    const { graph, inventory, origin } = this.#parts;
    const reachable = graph.findReachable(route, digest);
    const filling = origin.findFill(digest);
    const follower = await this.#open(digest);
    // Its file has its name a moment before its fill has recorded where it is from.
    const from = (follower === undefined ? undefined : inventory.findUpstream(digest)) ?? filling?.upstream;
    if (mayRead(reachable, from, route.upstream)) {
      return follower === undefined ? undefined : { follower, verdict: { cache: "hit" } };
    }
    if (follower === undefined && (filling === undefined || placeKey(filling) === placeKey(route))) return undefined;
    try {
      const remembered = origin.findAbsence(route, digest);
      const head = remembered ?? (await unlessAborted(origin.confirmBlob(route, digest).outcome, caller.signal));
      if (isAbsence(head)) {
        follower?.close();
        return absent(head, remembered !== undefined);
      }
    } catch (error) {
      follower?.close();
      throw error;
    }
    // The fill that ran elsewhere may have ended meanwhile.
    const found = follower ?? (await this.#open(digest));
    return found === undefined ? undefined : { follower: found, verdict: { cache: "revalidated" } };
  }

  /** A file that is not as long as it was when it was stored is no blob: it is dropped, and fetched again. */
  async #open(digest: Digest): Promise<Follower | undefined> {
    const { store, inventory } = this.#parts;
    const expected = this.#expectedSize(digest);
    if (expected === undefined && !store.has(digest)) return undefined;
    const follower = await store.open(digest, expected);
    try {
      if (follower === undefined) {
        if (expected !== undefined) inventory.dropBlob(digest);
        return undefined;
      }
      if (follower.sizeBytes === expected) return follower;
      if (expected === undefined) {
        // Stored just before a crash, before it was counted. Its name vouches for it.
        inventory.addBlob(digest, follower.sizeBytes, "", 0);
        return follower;
      }
    } catch (cause) {
      // The index is in trouble, the file is not.
      this.#parts.notices.emit("storageTrouble", { message: "the index of blobs cannot be used", cause });
      return follower;
    }
    follower.close();
    // The file first: without its row, its name would vouch for it.
    await store.remove(digest);
    inventory.dropBlob(digest);
    return undefined;
  }

  #expectedSize(digest: Digest): number | undefined {
    try {
      return this.#parts.inventory.findSize(digest);
    } catch (cause) {
      this.#parts.notices.emit("storageTrouble", { message: "the index of blobs cannot be used", cause });
      return undefined;
    }
  }

  /** A slice far ahead of the running fill goes to the upstream; undefined where following is as good. */
  async #passSlice(
    route: Route,
    digest: Digest,
    ticket: Ticket,
    findSlice: (sizeBytes: number) => Slice | undefined,
    caller: Caller,
  ): Promise<BlobAnswer | undefined> {
    const progress = ticket.progress();
    const slice = findSlice(progress.sizeBytes);
    if (slice === undefined || planRange({ startByte: slice.start, ...progress }) === "follow") return undefined;
    const passed = await this.#passing.openSlice(route, digest, slice, progress.sizeBytes, caller);
    if (passed === undefined) return undefined;
    ticket.release();
    return { digest, sizeBytes: progress.sizeBytes, verdict: { cache: "partial" }, passed, passedSlice: slice };
  }

  async #passWhole(
    route: Route,
    digest: Digest,
    sizeHint: number | undefined,
    why: string,
    caller: Caller,
  ): Promise<BlobAnswer | AbsentAnswer> {
    const opened = await this.#passing.openWhole(route, digest, sizeHint, caller);
    if ("absent" in opened) return absent(opened, false);
    return { digest, sizeBytes: opened.sizeBytes, verdict: { cache: "bypass", why }, passed: opened.body };
  }

  #sizeHint(route: Route, digest: Digest): number | undefined {
    const size = this.#parts.graph.findReachable(route, digest)?.sizeBytes;
    return size === undefined || size < 0 ? undefined : size;
  }
}

function followed(digest: Digest, ticket: Ticket): BlobAnswer {
  const verdict: Verdict = ticket.joined ? { cache: "joined" } : { cache: "miss", stored: true };
  const follower = ticket.follow();
  return { digest, sizeBytes: follower.sizeBytes, verdict, follower };
}
