/**
 * The front's answer to a request for a blob: the stored file, a follower of the running fill, or bytes passed through.
 *
 * Permission comes first: having the bytes is none. A HEAD never makes the mirror download anything.
 */
import type { Readable } from "node:stream";
import { Failure, isFailure } from "../base/failure.ts";
import { unlessAborted } from "../base/singleflight.ts";
import type { Graph } from "../meta/graph.ts";
import type { Inventory } from "../meta/inventory.ts";
import { placeKey } from "../meta/repositories.ts";
import { algorithmOf, type Digest, digestOf } from "../oci/digest.ts";
import type { BlobStore } from "../store/blobstore.ts";
import type { Follower } from "../store/follower.ts";
import { type Absence, isAbsence } from "../upstream/upstream.ts";
import { VerifiedStream } from "./barrier.ts";
import type { Caller } from "./caller.ts";
import { type Capacity, refusalOf } from "./capacity.ts";
import { planRange } from "./fillpolicy.ts";
import type { AbsentAnswer } from "./manifests.ts";
import type { Origin } from "./origin.ts";
import type { Route } from "./route.ts";
import type { Ticket } from "./ticket.ts";
import type { Verdict } from "./verdict.ts";

/** A contiguous piece of a blob, last byte inclusive. */
export interface Slice {
  readonly start: number;
  readonly end: number;
}

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
  readonly store: BlobStore;
  readonly inventory: Inventory;
  readonly graph: Graph;
  readonly origin: Origin;
  readonly capacity: Capacity;
}

export class Blobs {
  readonly #parts: BlobParts;

  constructor(parts: BlobParts) {
    this.#parts = parts;
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
    if (this.#parts.origin.isFilling(digest) === undefined) {
      const refusal = await this.#parts.capacity.findRefusal(sizeHint ?? 0);
      if (refusal !== undefined) return await this.#passThrough(route, digest, refusal, caller);
    }
    return await this.#fill(route, digest, sizeHint, findSlice, caller);
  }

  async #fill(
    route: Route,
    digest: Digest,
    sizeHint: number | undefined,
    findSlice: (sizeBytes: number) => Slice | undefined,
    caller: Caller,
  ): Promise<BlobAnswer | AbsentAnswer> {
    const ticket = this.#parts.origin.fillBlob(route, digest, sizeHint);
    try {
      const absence = await unlessAborted(ticket.ready, caller.signal);
      if (absence !== undefined) {
        ticket.release();
        return absent(absence, false);
      }
      return (await this.#passSlice(route, digest, ticket, findSlice, caller)) ?? followed(digest, ticket);
    } catch (error) {
      ticket.release();
      // The disk, not the upstream: this pull need not suffer for it.
      if (!isFailure(error, "storage")) throw error;
      const refusal = refusalOf(error);
      if (refusal === undefined) this.#parts.capacity.trouble();
      return await this.#passThrough(route, digest, refusal ?? "storage", caller);
    }
  }

  /** Opens what is stored, if this repository may have it. Undefined where it has to be fetched. */
  async #openPermitted(
    route: Route,
    digest: Digest,
    caller: Caller,
  ): Promise<{ follower: Follower; verdict: Verdict } | AbsentAnswer | undefined> {
    const { graph, origin } = this.#parts;
    const permitted = graph.findReachable(route, digest) !== undefined;
    if (permitted) {
      const follower = await this.#open(digest);
      return follower === undefined ? undefined : { follower, verdict: { cache: "hit" } };
    }
    const filling = origin.isFilling(digest);
    if (filling !== undefined && placeKey(filling.place as Route) === placeKey(route)) return undefined;
    const follower = await this.#open(digest);
    if (follower === undefined && filling === undefined) return undefined;
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
    return follower === undefined ? undefined : { follower, verdict: { cache: "revalidated" } };
  }

  /** A file that is not as long as it was when it was stored is no blob: it is dropped, and fetched again. */
  async #open(digest: Digest): Promise<Follower | undefined> {
    const { store, inventory } = this.#parts;
    const follower = await store.open(digest);
    const expected = inventory.findSize(digest);
    if (follower === undefined) {
      if (expected !== undefined) inventory.dropBlob(digest);
      return undefined;
    }
    if (expected === undefined) {
      // Stored just before a crash, before it was counted. Its name vouches for it.
      inventory.addBlob(digest, follower.sizeBytes, 0);
      return follower;
    }
    if (follower.sizeBytes === expected) return follower;
    follower.close();
    inventory.dropBlob(digest);
    await store.remove(digest);
    return undefined;
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
    let answer: Awaited<ReturnType<typeof route.source.upstream.openBlob>>;
    try {
      answer = await route.source.upstream.openBlob(route.repository, digest, slice, caller.signal);
    } catch (error) {
      caller.signal.throwIfAborted();
      if (isFailure(error)) return undefined;
      throw error;
    }
    if (isAbsence(answer)) return undefined;
    const whole = answer.sizeBytes ?? progress.sizeBytes;
    const bytes = answer.bodyBytes ?? -1;
    if (answer.startByte !== slice.start || bytes !== slice.end - slice.start + 1 || whole !== progress.sizeBytes) {
      // It ignores ranges, or speaks of something else.
      answer.body.on("error", () => {});
      answer.body.destroy();
      return undefined;
    }
    ticket.release();
    return { digest, sizeBytes: whole, verdict: { cache: "partial" }, passed: answer.body, passedSlice: slice };
  }

  async #passThrough(route: Route, digest: Digest, why: string, caller: Caller): Promise<BlobAnswer | AbsentAnswer> {
    const answer = await route.source.upstream.openBlob(route.repository, digest, undefined, caller.signal);
    if (isAbsence(answer)) return absent(answer, false);
    const sizeBytes = answer.sizeBytes ?? this.#sizeHint(route, digest);
    if (sizeBytes === undefined) {
      answer.body.on("error", () => {});
      answer.body.destroy();
      throw new Failure("storage", "the blob cannot be stored, and its size is not known");
    }
    if (sizeBytes === 0 && digest !== digestOf(Buffer.alloc(0), algorithmOf(digest))) {
      // There is no byte to hold back: this has to be known before the answer begins.
      answer.body.destroy();
      throw new Failure("corrupt", "the upstream sent an empty blob");
    }
    const verified = new VerifiedStream(digest);
    answer.body.on("error", (error) => verified.destroy(error));
    verified.on("close", () => answer.body.destroy());
    answer.body.pipe(verified);
    return { digest, sizeBytes, verdict: { cache: "bypass", why }, passed: verified };
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

function absent(absence: Absence, remembered: boolean): AbsentAnswer {
  return { absence, verdict: { cache: "absent", remembered } };
}
