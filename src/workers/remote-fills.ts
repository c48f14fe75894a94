/**
 * The fills that clients of this front wait for: each is asked for once, its file is opened here by its path, and read
 * up to where the origin side says it may be.
 *
 * The partial file may have its final name by the time it is opened, or be gone with a fill that failed; both are told
 * by the origin side too.
 */
import { close, constants, fstat, open as openFd } from "node:fs";
import { promisify } from "node:util";
import { errnoOf, Failure, messageOf } from "../base/failure.ts";
import type { Emitter } from "../base/notices.ts";
import type { Place } from "../meta/repositories.ts";
import type { MirrorNotices } from "../mirror/notices.ts";
import type { Route } from "../mirror/route.ts";
import type { FillProgress, Ticket } from "../mirror/ticket.ts";
import type { Digest } from "../oci/digest.ts";
import { type Follower, GrowingFollower, type Waiter, type Watched } from "../store/follower.ts";
import { OpenFile } from "../store/openfile.ts";
import type { Absence } from "../upstream/upstream.ts";
import type { Channel } from "./channel.ts";
import { errorOfText } from "./failures.ts";
import type { DoorAsks, DoorPosts, FrontPosts } from "./messages.ts";
import type { RemoteReaders } from "./remote-readers.ts";

const openAsync = promisify(openFd);
const fstatAsync = promisify(fstat);

export interface RemoteFillParts {
  readonly channel: Channel<DoorAsks, DoorPosts>;
  /** The name of a stored blob's file. */
  readonly pathOf: (digest: Digest) => string;
  readonly notices: Emitter<MirrorNotices>;
  readonly readers: Pick<RemoteReaders, "stir">;
}

export class RemoteFills {
  readonly #parts: RemoteFillParts;
  /** Those that a new client joins. */
  readonly #joinable = new Map<Digest, RemoteFill>();
  readonly #byId = new Map<number, RemoteFill>();
  #serial = 0;

  constructor(parts: RemoteFillParts) {
    this.#parts = parts;
  }

  join(route: Route, digest: Digest, sizeHint: number | undefined): Ticket {
    const known = this.#joinable.get(digest);
    if (known !== undefined) return known.join(true);
    this.#serial += 1;
    const id = this.#serial;
    const place = { upstream: route.upstream, repository: route.repository };
    const fill = new RemoteFill(this.#parts, digest, place, {
      settle: () => this.#settle(digest, fill),
      leave: () => {
        this.#settle(digest, fill);
        this.#byId.delete(id);
        this.#parts.channel.post("release", { id });
      },
    });
    this.#joinable.set(digest, fill);
    this.#parts.readers.stir();
    this.#byId.set(id, fill);
    this.#parts.channel.post("join", { id, place, digest, sizeHint });
    return fill.join(false);
  }

  take(state: FrontPosts["fill"]): void {
    void this.#byId.get(state.id)?.take(state);
  }

  progress({ id, visibleBytes, bytesPerSecond }: FrontPosts["progress"]): void {
    this.#byId.get(id)?.progressed(visibleBytes, bytesPerSecond);
  }

  broken({ id, error }: FrontPosts["broken"]): void {
    this.#byId.get(id)?.fail(errorOfText(error));
  }

  /** What is read here, or will be. */
  *held(): Iterable<Digest> {
    for (const fill of this.#byId.values()) yield fill.digest;
  }

  /** What was stored was found damaged: who still reads it here, from the file that was being written, must stop. */
  condemned(digest: Digest, reason: string): void {
    const failure = new Failure("corrupt", `the stored blob ${reason}`);
    for (const fill of this.#byId.values()) fill.condemn(digest, failure);
  }

  /** The fill has ended at the origin side: who comes now finds it stored, or begins another. */
  ended(digest: Digest): void {
    this.#joinable.delete(digest);
  }

  #settle(digest: Digest, fill: RemoteFill): void {
    if (this.#joinable.get(digest) === fill) this.#joinable.delete(digest);
  }
}

interface RemoteFillEvents {
  /** Nobody new should join. */
  settle(): void;
  /** The last one who waited has left. */
  leave(): void;
}

class RemoteFill implements Watched {
  readonly digest: Digest;
  readonly #parts: RemoteFillParts;
  readonly #events: RemoteFillEvents;
  readonly #ready = Promise.withResolvers<Absence | undefined>();
  readonly #waiters = new Set<Waiter>();
  #place: Place;
  #joined = false;
  #file: OpenFile | undefined;
  #sizeBytes = 0;
  #visibleBytes = 0;
  #bytesPerSecond = 0;
  #failure: Error | undefined;
  #tickets = 0;
  #left = false;

  constructor(parts: RemoteFillParts, digest: Digest, place: Place, events: RemoteFillEvents) {
    this.#parts = parts;
    this.digest = digest;
    this.#place = place;
    this.#events = events;
    this.#ready.promise.catch(() => {});
  }

  join(joined: boolean): Ticket {
    this.#tickets += 1;
    let held = true;
    const release = () => {
      if (!held) return;
      held = false;
      this.#tickets -= 1;
      if (this.#tickets === 0) this.#leave();
    };
    const here = this;
    return {
      get joined() {
        return joined || here.#joined;
      },
      get place() {
        return here.#place;
      },
      ready: this.#ready.promise,
      progress: () => this.#progress(),
      follow: () => this.#follow(release),
      release,
    };
  }

  async take(state: FrontPosts["fill"]): Promise<void> {
    this.#place = state.place;
    this.#joined = state.joined;
    switch (state.state) {
      case "absent":
        this.#events.settle();
        this.#ready.resolve(state.absence);
        return;
      case "failed":
        this.fail(errorOfText(state.error));
        return;
      case "stored":
        this.#events.settle();
        await this.#open(undefined);
        return;
      case "ready":
        this.#sizeBytes = state.sizeBytes;
        this.progressed(state.visibleBytes, state.bytesPerSecond);
        await this.#open(state.path);
    }
  }

  progressed(visibleBytes: number, bytesPerSecond: number): void {
    this.#visibleBytes = Math.max(this.#visibleBytes, visibleBytes);
    this.#bytesPerSecond = bytesPerSecond;
    this.#wake();
  }

  fail(error: Error): void {
    this.#failure ??= error;
    this.#events.settle();
    this.#ready.reject(error);
    this.#wake();
  }

  /** One that is still being written is another file than the one that was stored. */
  condemn(digest: Digest, failure: Failure): void {
    if (digest === this.digest && this.#file !== undefined && this.#visibleBytes === this.#sizeBytes)
      this.fail(failure);
  }

  visible(): number {
    return this.#visibleBytes;
  }

  failure(): Error | undefined {
    return this.#failure;
  }

  watch(waiter: Waiter): void {
    this.#waiters.add(waiter);
  }

  unwatch(waiter: Waiter): void {
    this.#waiters.delete(waiter);
  }

  async #open(path: string | undefined): Promise<void> {
    try {
      const fd = (path === undefined ? undefined : await findFile(path)) ?? (await this.#findStored());
      if (fd === undefined) return;
      if (this.#left) close(fd, () => {});
      else this.#file = new OpenFile(fd);
      this.#ready.resolve(undefined);
    } catch (cause) {
      const message = "a blob that is being written cannot be opened";
      this.#parts.notices.emit("storageTrouble", { message, cause });
      this.fail(new Failure("storage", `${message}: ${messageOf(cause)}`, { cause }));
    }
  }

  /** By its final name. Undefined where it has none: the fill failed, and we are told so. */
  async #findStored(): Promise<number | undefined> {
    const fd = await findFile(this.#parts.pathOf(this.digest));
    if (fd === undefined) {
      const complete = this.#visibleBytes === this.#sizeBytes;
      if (complete) this.fail(new Failure("unreachable", "the blob was removed as soon as it was stored"));
      return undefined;
    }
    const { size } = await fstatAsync(fd);
    this.#sizeBytes = size;
    this.progressed(size, this.#bytesPerSecond);
    return fd;
  }

  #follow(release: () => void): Follower {
    const file = this.#file;
    if (file === undefined) throw new Error("followed before the fill was ready");
    this.#parts.notices.emit("followerOpened", undefined);
    return new GrowingFollower(this.digest, this.#sizeBytes, file.retain(), this, () => {
      this.#parts.notices.emit("followerClosed", undefined);
      release();
    });
  }

  #progress(): FillProgress {
    return {
      sizeBytes: this.#sizeBytes,
      visibleBytes: this.#visibleBytes,
      bytesPerSecond: this.#bytesPerSecond,
    };
  }

  #leave(): void {
    this.#left = true;
    this.#file?.release();
    this.#file = undefined;
    this.#events.leave();
  }

  #wake(): void {
    for (const waiter of this.#waiters) {
      if (this.#visibleBytes > waiter.position || this.#failure !== undefined) {
        this.#waiters.delete(waiter);
        waiter.wake();
      }
    }
  }
}

async function findFile(path: string): Promise<number | undefined> {
  try {
    return await openAsync(path, constants.O_RDONLY);
  } catch (cause) {
    if (errnoOf(cause) === "ENOENT") return undefined;
    throw cause;
  }
}
