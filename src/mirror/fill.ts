/**
 * One fill: an ingest fed by an upstream.
 *
 * The upstream is asked for each byte once (`download.ts`), and what an earlier fill has left is not asked for at all. Its
 * life depends on the mirror's policy alone. When `run` resolves, the blob is stored, or nothing of it is left but what
 * is kept (`keeping.ts`).
 */
import { Failure, isFailure } from "../base/failure.ts";
import type { Digest } from "../oci/digest.ts";
import { BARRIER_BYTES, type Ingest } from "../store/blobstore.ts";
import type { Follower } from "../store/follower.ts";
import type { Absence } from "../upstream/upstream.ts";
import { noRoom, type Room, refusalOf } from "./capacity.ts";
import { type Begun, Download } from "./download.ts";
import { KEPT_FROM_BYTES, planAbandoned } from "./fillpolicy.ts";
import type { Route } from "./route.ts";
import type { FillProgress, FillSurroundings, Ticket } from "./ticket.ts";

/** How long a fill that nobody waits for is kept, if it is not worth finishing. */
const GRACE_MS = 10_000;
const MEASURED_AFTER_MS = 1000;

export class Fill {
  readonly digest: Digest;
  readonly route: Route;
  readonly #parts: FillSurroundings;
  readonly #sizeHint: number | undefined;
  readonly #abort = new AbortController();
  readonly #ready = Promise.withResolvers<Absence | undefined>();
  readonly #ended = Promise.withResolvers<void>();
  readonly #startedAt: number;
  /** Opened while the upstream is asked: both take their time. */
  #opening: Promise<Ingest>;
  #ingest: Ingest | undefined;
  /** Bytes that an earlier fill has left. */
  #keptBytes = 0;
  /** They were wrong. */
  #misled = false;
  #room: Room | undefined;
  #tickets = 0;
  #cancelGrace: (() => void) | undefined;
  #over = false;
  #forget: () => void = () => {};
  #left: () => void = () => {};

  constructor(parts: FillSurroundings, route: Route, digest: Digest, sizeHint: number | undefined) {
    this.#parts = parts;
    this.route = route;
    this.digest = digest;
    this.#sizeHint = sizeHint;
    this.#startedAt = parts.clock.now();
    this.#opening = this.#open();
    this.#opening.catch(() => {});
    // Everyone who waits may have left by the time it fails.
    this.#ready.promise.catch(() => {});
  }

  /** Resolves when nothing of it runs any more. */
  get ended(): Promise<void> {
    return this.#ended.promise;
  }

  /** It failed because what an earlier fill had left was not what the digest says. */
  get wasMisled(): boolean {
    return this.#misled;
  }

  /** Calls back once nobody reads it any more: at once where nobody does. For one that has ended. */
  onceLeft(callback: () => void): void {
    if (this.#tickets === 0) callback();
    else this.#left = callback;
  }

  join(joined: boolean): Ticket {
    this.#tickets += 1;
    this.#cancelGrace?.();
    this.#cancelGrace = undefined;
    let held = true;
    const release = () => {
      if (!held) return;
      held = false;
      this.#tickets -= 1;
      if (this.#tickets === 0) this.#abandoned();
    };
    return {
      joined,
      place: this.route,
      ready: this.#ready.promise,
      progress: () => this.#progress(),
      follow: () => this.#follow(release),
      release,
    };
  }

  /**
   * Never rejects: whoever waits learns of a failure by `ready` or by their follower.
   * @param forget called as soon as nobody new should join: at a failure, or when the blob can be opened by its name.
   */
  async run(forget: () => void): Promise<void> {
    this.#forget = forget;
    const { notices } = this.#parts;
    const upstream = this.route.upstream;
    notices.emit("fillStarted", { upstream, digest: this.digest });
    let failure: Error | undefined;
    try {
      await this.#fill();
    } catch (error) {
      failure = error instanceof Error ? error : new Error(String(error));
      forget();
      if (isFailure(failure, "storage") && refusalOf(failure) === undefined) this.#parts.capacity.trouble(failure);
      this.#ready.reject(failure);
      await this.#leave(failure);
    } finally {
      forget();
      if (this.#ingest === undefined) await this.#discard();
      this.#over = true;
      this.#room?.release();
      if (this.#tickets === 0) this.#ingest?.close();
      this.#cancelGrace?.();
      const bytes = Math.max(0, (this.#ingest?.receivedBytes ?? 0) - this.#keptBytes);
      notices.emit("fillEnded", {
        upstream,
        digest: this.digest,
        bytes,
        durationMs: this.#parts.clock.now() - this.#startedAt,
        failure,
      });
      this.#ended.resolve();
    }
  }

  /** Ends it now; resolves when nothing of it is left. */
  async stop(reason: Error): Promise<void> {
    this.#abort.abort(reason);
    await this.#ended.promise;
  }

  async #open(): Promise<Ingest> {
    const { store, keeping, predecessor } = this.#parts;
    await predecessor;
    const kept = keeping?.take(this.digest);
    let ingest: Ingest;
    try {
      ingest = await store.ingest(this.digest, kept);
    } catch (error) {
      if (kept !== undefined) keeping?.giveBack(kept);
      throw error;
    }
    this.#keptBytes = ingest.receivedBytes;
    if (kept !== undefined && ingest.receivedBytes === 0) keeping?.lost(kept);
    return ingest;
  }

  async #fill(): Promise<void> {
    const { keeping, predecessor } = this.#parts;
    // Where nothing is kept, the file is made while the upstream is asked.
    if (predecessor !== undefined || keeping?.has(this.digest) === true) await this.#opening;
    let absence: Absence | undefined;
    try {
      absence = await this.#download();
    } catch (error) {
      // The upstream has no such rest: it, or what is kept, is of another size.
      if (this.#keptBytes === 0 || this.#ingest !== undefined || !isFailure(error, "corrupt")) throw error;
      await this.#renounce();
      absence = await this.#download();
    }
    if (absence === undefined) await this.#finish();
    else this.#ready.resolve(absence);
  }

  /** What is kept cannot be gone on with: all is asked for. */
  async #renounce(): Promise<void> {
    const useless = await this.#opening;
    await useless.fail(new Failure("corrupt", "what was kept is of no use"));
    useless.close();
    this.#parts.keeping?.lost(useless);
    this.#keptBytes = 0;
    this.#opening = this.#parts.store.ingest(this.digest);
    this.#opening.catch(() => {});
  }

  async #download(): Promise<Absence | undefined> {
    const { clock, notices, pace, random } = this.#parts;
    return await new Download({
      route: this.route,
      digest: this.digest,
      sizeHint: this.#sizeHint,
      signal: this.#abort.signal,
      clock,
      pace,
      random,
      fromByte: this.#keptBytes,
      awaited: () => this.#tickets > 0,
      begin: (sizeBytes, fromByte) => this.#begin(sizeBytes, fromByte),
      resumed: (atByte, reason) => {
        notices.emit("fillResumed", { upstream: this.route.upstream, digest: this.digest, atByte, reason });
      },
    }).run();
  }

  async #begin(sizeBytes: number | undefined, fromByte: number): Promise<Begun> {
    const { keeping, notices } = this.#parts;
    const opened = await this.#opening;
    if (this.#keptBytes > 0) {
      if (sizeBytes !== undefined && sizeBytes !== opened.sizeBytes) {
        throw new Failure("corrupt", `the blob has ${sizeBytes} bytes, where it had ${opened.sizeBytes} before`);
      }
      // It sends all of it, whatever was asked for.
      if (fromByte < this.#keptBytes) await this.#renounce();
    }
    const newcomer = { digest: this.digest, upstream: this.route.upstream };
    const room = await this.#parts.capacity.reserve(sizeBytes, newcomer, () => this.#ingest?.receivedBytes ?? 0);
    if (typeof room === "string") throw noRoom(room);
    this.#room = room;
    this.#ingest = await this.#opening;
    // The upstream may be silent meanwhile: nobody new should join, and nobody wait for its next bytes.
    this.#ingest.onFailure((reason) => {
      this.#forget();
      this.#abort.abort(reason);
    });
    if (sizeBytes !== undefined) this.#ingest.declareSize(sizeBytes);
    if (this.#keptBytes > 0) {
      notices.emit("fillTakenUp", { upstream: this.route.upstream, digest: this.digest, atByte: this.#keptBytes });
    }
    keeping?.begin(this.route, this.#ingest, this.#keptBytes > 0);
    this.#confirmed(sizeBytes);
    if (sizeBytes !== undefined && sizeBytes > BARRIER_BYTES) this.#ready.resolve(undefined);
    return { ingest: this.#ingest, limitBytes: room.limitBytes };
  }

  /** The upstream sent nothing to write. */
  async #discard(): Promise<void> {
    const unused = await this.#opening.catch(() => undefined);
    if (unused === undefined) return;
    const nothing = new Failure("unreachable", "nothing was fetched");
    if (this.#keptBytes > 0) await this.#parts.keeping?.suspend(this.route, unused, nothing);
    else await unused.fail(nothing);
    unused.close();
  }

  /** It ends without a blob. What is wrong, and what the disk would not take, is not kept. */
  async #leave(failure: Error): Promise<void> {
    const ingest = this.#ingest;
    if (ingest === undefined) return;
    const { keeping } = this.#parts;
    const isSound = isFailure(failure) && !isFailure(failure, "corrupt", "storage");
    if (isSound && keeping !== undefined && ingest.receivedBytes >= KEPT_FROM_BYTES) {
      await keeping.suspend(this.route, ingest, failure);
    } else await this.#throwAway(ingest, failure);
  }

  async #throwAway(ingest: Ingest, reason: Error): Promise<void> {
    await ingest.fail(reason);
    this.#parts.keeping?.end(ingest);
  }

  async #finish(): Promise<void> {
    const ingest = this.#ingest;
    if (ingest === undefined) throw new Error("finished without an ingest");
    const { inventory, clock, notices } = this.#parts;
    let finished: Awaited<ReturnType<Ingest["finish"]>>;
    try {
      finished = await ingest.finish();
    } catch (error) {
      if (isFailure(error, "corrupt") && this.#keptBytes > 0) {
        // That says nothing of the upstream yet.
        this.#misled = true;
      } else if (isFailure(error, "corrupt")) {
        const found = (error.detail as { found?: string } | undefined)?.found ?? `${ingest.receivedBytes} bytes`;
        notices.emit("digestMismatch", { upstream: this.route.upstream, expected: this.digest, found });
      }
      throw error;
    }
    this.#ready.resolve(undefined);
    await finished.stored;
    this.#parts.keeping?.end(ingest);
    try {
      inventory.addBlob(this.digest, finished.sizeBytes, this.route.upstream, clock.now());
    } catch (cause) {
      // It is stored all the same, and counted when it is opened.
      notices.emit("storageTrouble", { message: "a stored blob could not be counted", cause });
    }
  }

  /** The upstream is sending it from this repository: that is permission. */
  #confirmed(sizeBytes: number | undefined): void {
    try {
      this.#parts.graph.link(this.route, [{ digest: this.digest, sizeBytes: sizeBytes ?? -1, confirmed: true }]);
    } catch (cause) {
      this.#parts.notices.emit("storageTrouble", { message: "a permission could not be recorded", cause });
    }
  }

  #follow(release: () => void): Follower {
    if (this.#ingest === undefined) throw new Error("followed before the fill was ready");
    this.#parts.notices.emit("followerOpened", undefined);
    return this.#ingest.follow(() => {
      this.#parts.notices.emit("followerClosed", undefined);
      release();
    });
  }

  #progress(): FillProgress {
    const visibleBytes = this.#ingest?.visible() ?? 0;
    const elapsedMs = this.#parts.clock.now() - this.#startedAt;
    return {
      sizeBytes: this.#ingest?.sizeBytes ?? 0,
      visibleBytes,
      // The first burst says little of how it goes on.
      bytesPerSecond:
        elapsedMs >= MEASURED_AFTER_MS ? (Math.max(0, visibleBytes - this.#keptBytes) * 1000) / elapsedMs : 0,
    };
  }

  #abandoned(): void {
    if (this.#over) {
      this.#ingest?.close();
      this.#left();
      return;
    }
    const received = this.#ingest?.receivedBytes ?? 0;
    if (planAbandoned(received, this.#ingest?.sizeBytes) === "finish") return;
    this.#cancelGrace = this.#parts.clock.after(GRACE_MS, () => {
      // It may have come far meanwhile.
      if (planAbandoned(this.#ingest?.receivedBytes ?? 0, this.#ingest?.sizeBytes) === "finish") return;
      this.#forget();
      this.#abort.abort(new Failure("unreachable", "nobody waits for this blob any more"));
    });
  }
}
