/**
 * The front's answer to a request for a blob: the stored file, a follower of the running fill, or bytes passed through.
 *
 * Permission comes first: having the bytes is none. A HEAD never makes the mirror download anything.
 */
import type { Readable } from "node:stream";
import type { Clock } from "../base/clock.ts";
import { Failure, isFailure } from "../base/failure.ts";
import type { Emitter } from "../base/notices.ts";
import { unlessAborted } from "../base/singleflight.ts";
import type { Graph } from "../meta/graph.ts";
import type { Inventory } from "../meta/inventory.ts";
import { placeKey } from "../meta/repositories.ts";
import type { UseNotes } from "../meta/usage.ts";
import type { Digest } from "../oci/digest.ts";
import type { BlobStore } from "../store/blobstore.ts";
import { type FileIdentity, identityOfOpen } from "../store/condemned.ts";
import type { Follower } from "../store/follower.ts";
import { type Absence, isAbsence } from "../upstream/upstream.ts";
import { type AbsentAnswer, absent } from "./absent.ts";
import type { Caller } from "./caller.ts";
import { type Capacity, refusalOf } from "./capacity.ts";
import { planRange } from "./fillpolicy.ts";
import type { MirrorNotices } from "./notices.ts";
import type { Origin } from "./origin.ts";
import type { Passes } from "./passes.ts";
import { type FindSlice, Passing } from "./passing.ts";
import { mayRead } from "./permission.ts";
import { Relays } from "./relays.ts";
import { Rescue, type Stranded } from "./rescue.ts";
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
  /**
   * Goes on where the follower's file has failed.
   * @param damage why the file itself cannot be read; undefined where it is not to blame.
   */
  readonly rescue?: (stranded: Stranded, damage: Failure | undefined) => Readable;
  /** The requested slice or, with no `passedSlice`, the whole blob. Whoever gets it reads or destroys it. */
  readonly passed?: Readable;
  readonly passedSlice?: Slice;
}

export interface BlobParts {
  readonly notices: Emitter<MirrorNotices>;
  readonly store: Pick<BlobStore, "has" | "open" | "remove"> & {
    /** Removes this very file, where files can be told from one another. @returns whether it was still there. */
    discardSeen?(digest: Digest, seen: FileIdentity): Promise<boolean>;
  };
  readonly inventory: Pick<Inventory, "findSize" | "findUpstream" | "addBlob" | "dropBlob">;
  readonly graph: Pick<Graph, "findReachable">;
  readonly origin: Origin;
  readonly capacity: Pick<Capacity, "findRefusal">;
  readonly passes: Passes;
  readonly clock: Clock;
  readonly usage: UseNotes;
}

/** What one client asks for. */
interface Wanted {
  readonly route: Route;
  readonly digest: Digest;
  readonly sizeHint: number | undefined;
  readonly findSlice: FindSlice;
  readonly caller: Caller;
}

const INDEX_TROUBLE = "the index of blobs cannot be used";
/** How often a client whose fill failed elsewhere has its own upstream asked. */
const MAX_ROUNDS = 3;

export class Blobs {
  readonly #passing: Passing;
  readonly #rescue: Rescue;
  readonly #parts: BlobParts;

  constructor(parts: BlobParts) {
    const { clock, notices, passes } = parts;
    const relays = new Relays({ clock, notices });
    this.#parts = parts;
    this.#passing = new Passing(passes, relays);
    this.#rescue = new Rescue(clock, relays);
  }

  /** For HEAD. @throws Failure. */
  async head(route: Route, digest: Digest, caller: Caller): Promise<BlobAnswer | AbsentAnswer> {
    const { origin } = this.#parts;
    const opened = await this.#openPermitted(route, digest, caller);
    if (opened !== undefined && opened !== "unreadable") {
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
  async answer(route: Route, digest: Digest, findSlice: FindSlice, caller: Caller): Promise<BlobAnswer | AbsentAnswer> {
    const opened = await this.#openPermitted(route, digest, caller);
    const sizeHint = this.#sizeHint(route, digest);
    const wanted: Wanted = { route, digest, sizeHint, findSlice, caller };
    if (opened === "unreadable") return await this.#pass(wanted, "storage");
    if (opened !== undefined) {
      if ("absence" in opened) return opened;
      return this.#answered(wanted, opened.follower, opened.verdict);
    }
    const remembered = this.#parts.origin.findAbsence(route, digest);
    if (remembered !== undefined) return absent(remembered, true);
    if (this.#parts.origin.findFill(digest) === undefined) {
      const refusal = await this.#parts.capacity.findRefusal(sizeHint ?? 0, { digest, upstream: route.upstream });
      if (refusal !== undefined) return await this.#pass(wanted, refusal);
    }
    for (let round = 1; ; round += 1) {
      const answer = await this.#fill(wanted, round < MAX_ROUNDS);
      if (answer !== "ask again") return answer;
    }
  }

  async #fill(wanted: Wanted, mayAskAgain: boolean): Promise<BlobAnswer | AbsentAnswer | "ask again"> {
    const { route, digest, sizeHint, caller } = wanted;
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
      return (await this.#passFar(wanted, ticket)) ?? this.#followed(wanted, ticket);
    } catch (error) {
      ticket.release();
      // The disk, not the upstream: this pull need not suffer for it.
      if (!isFailure(error, "storage")) {
        if (foreign() && isFailure(error)) return "ask again";
        throw error;
      }
      return await this.#pass(wanted, refusalOf(error) ?? "storage");
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
  ): Promise<{ follower: Follower; verdict: Verdict } | AbsentAnswer | "unreadable" | undefined> {
    const { graph, inventory, origin } = this.#parts;
    const reachable = graph.findReachable(route, digest);
    const filling = origin.findFill(digest);
    const follower = await this.#open(digest);
    // The upstream itself will say whether this repository has it.
    if (follower === "unreadable") return follower;
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
    if (found === "unreadable") return found;
    return found === undefined ? undefined : { follower: found, verdict: { cache: "revalidated" } };
  }

  /**
   * A file that is not as long as it was when it was stored is no blob: it is dropped, and fetched again. One that cannot be
   * opened, or dropped, is left alone, and its bytes come from elsewhere.
   */
  async #open(digest: Digest): Promise<Follower | "unreadable" | undefined> {
    const { store, inventory } = this.#parts;
    const expected = this.#expectedSize(digest);
    if (expected === undefined && !store.has(digest)) return undefined;
    let follower: Follower | undefined;
    try {
      follower = await store.open(digest, expected);
    } catch (cause) {
      if (!isFailure(cause, "storage")) throw cause;
      this.#trouble("a stored blob cannot be opened", cause);
      return "unreadable";
    }
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
      this.#trouble(INDEX_TROUBLE, cause);
      return follower;
    }
    follower.close();
    const remove = () => store.remove(digest).then(() => true);
    return (await this.#drop(digest, remove)) ? undefined : "unreadable";
  }

  /** The file first: without its row, its name would vouch for it. False where it would not go, or was replaced. */
  async #drop(digest: Digest, remove: () => Promise<boolean>): Promise<boolean> {
    try {
      if (!(await remove())) return false;
    } catch (cause) {
      this.#trouble("a damaged blob cannot be removed", cause);
      return false;
    }
    try {
      this.#parts.inventory.dropBlob(digest);
    } catch (cause) {
      this.#trouble(INDEX_TROUBLE, cause);
    }
    return true;
  }

  #trouble(message: string, cause: unknown): void {
    this.#parts.notices.emit("storageTrouble", { message, cause });
  }

  #expectedSize(digest: Digest): number | undefined {
    try {
      return this.#parts.inventory.findSize(digest);
    } catch (cause) {
      this.#trouble(INDEX_TROUBLE, cause);
      return undefined;
    }
  }

  /** A slice far ahead of the running fill goes to the upstream; undefined where following is as good, or safer. */
  async #passFar(wanted: Wanted, ticket: Ticket): Promise<BlobAnswer | undefined> {
    const progress = ticket.progress();
    const slice = wanted.findSlice(progress.sizeBytes);
    if (slice === undefined || planRange({ startByte: slice.start, ...progress }) === "follow") return undefined;
    const answer = await this.#passSlice(wanted, slice, progress.sizeBytes, { cache: "partial" });
    if (answer !== undefined) ticket.release();
    return answer;
  }

  async #passSlice(
    { route, digest, caller }: Wanted,
    slice: Slice,
    sizeBytes: number,
    verdict: Verdict,
  ): Promise<BlobAnswer | undefined> {
    const passed = await this.#passing.openSlice(route, digest, slice, sizeBytes, caller);
    return passed === undefined ? undefined : { digest, sizeBytes, verdict, passed, passedSlice: slice };
  }

  /** Past the store: just the slice where that is known and allowed, or by what brings and verifies the whole. */
  async #pass(wanted: Wanted, why: string): Promise<BlobAnswer | AbsentAnswer> {
    const { route, digest, sizeHint, findSlice, caller } = wanted;
    const verdict: Verdict = { cache: "bypass", why };
    const slice = sizeHint === undefined ? undefined : findSlice(sizeHint);
    if (slice !== undefined && sizeHint !== undefined) {
      const answer = await this.#passSlice(wanted, slice, sizeHint, verdict);
      if (answer !== undefined) return answer;
    }
    const opened = await this.#passing.openVerified(route, digest, sizeHint, findSlice, caller);
    if ("absent" in opened) return absent(opened, false);
    const { body: passed, sizeBytes, slice: passedSlice } = opened;
    return { digest, sizeBytes, verdict, passed, ...(passedSlice === undefined ? {} : { passedSlice }) };
  }

  #followed(wanted: Wanted, ticket: Ticket): BlobAnswer {
    const verdict: Verdict = ticket.joined ? { cache: "joined" } : { cache: "miss", stored: true };
    return this.#answered(wanted, ticket.follow(), verdict);
  }

  /** From a file, be it finished or growing; should that fail, what is missing comes from the upstream. */
  #answered({ route, digest, findSlice }: Wanted, follower: Follower, verdict: Verdict): BlobAnswer {
    const { sizeBytes } = follower;
    const { usage } = this.#parts;
    // What begins a fill is counted when that is stored, and later pieces of a body that is resumed are the same use.
    if (verdict.cache !== "miss" && (findSlice(sizeBytes)?.start ?? 0) === 0) usage.note(digest);
    const rescue = (stranded: Stranded, damage: Failure | undefined): Readable => {
      if (damage !== undefined) this.#discard(digest, damage, stranded.follower);
      this.#parts.notices.emit("answerRescued", { upstream: route.upstream, digest, atByte: stranded.position });
      return this.#rescue.open({ route, digest, sizeBytes }, stranded);
    };
    return { digest, sizeBytes, verdict, follower, rescue };
  }

  /** Only the file that he read: what was stored since is not to blame, and may be the last there is. */
  #discard(digest: Digest, damage: Failure, reader: Follower | undefined): void {
    const { store } = this.#parts;
    this.#trouble(`stored blob ${digest} cannot be read; it will be fetched again`, damage);
    const seen = reader === undefined ? undefined : identityOfOpen(reader.fd);
    void this.#drop(digest, async () => {
      if (store.discardSeen !== undefined) return seen !== undefined && (await store.discardSeen(digest, seen));
      await store.remove(digest);
      return true;
    });
  }

  #sizeHint(route: Route, digest: Digest): number | undefined {
    const size = this.#parts.graph.findReachable(route, digest)?.sizeBytes;
    return size === undefined || size < 0 ? undefined : size;
  }
}
