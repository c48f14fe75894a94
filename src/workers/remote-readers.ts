/**
 * What this front has open, told to the origin side once a second where that has changed, so that nothing leaves that
 * somebody reads. What is closed within the second is not told of; where nothing is open, nothing is done.
 */
import type { Clock } from "../base/clock.ts";
import type { Digest } from "../oci/digest.ts";
import type { Channel } from "./channel.ts";
import type { DoorAsks, DoorPosts } from "./messages.ts";

const TOLD_MS = 1000;
/** More than this are not told of: a front has fewer connections. */
const MAX_TOLD = 20_000;

export class RemoteReaders {
  readonly #door: Pick<Channel<DoorAsks, DoorPosts>, "post">;
  readonly #clock: Clock;
  readonly #findOpen: () => Iterable<Digest>;
  #told: ReadonlySet<Digest> = new Set();
  #cancel: (() => void) | undefined;

  /** @param findOpen all that is open now. */
  constructor(door: Pick<Channel<DoorAsks, DoorPosts>, "post">, clock: Clock, findOpen: () => Iterable<Digest>) {
    this.#door = door;
    this.#clock = clock;
    this.#findOpen = findOpen;
  }

  /** Something was opened, or is about to be. Costs nothing where that is known. */
  stir(): void {
    this.#cancel ??= this.#clock.after(TOLD_MS, () => this.#tell());
  }

  stop(): void {
    this.#cancel?.();
    this.#cancel = undefined;
  }

  #tell(): void {
    this.#cancel = undefined;
    const open = new Set<Digest>();
    for (const digest of this.#findOpen()) if (open.size < MAX_TOLD) open.add(digest);
    const began = [...open].filter((digest) => !this.#told.has(digest));
    const ended = [...this.#told].filter((digest) => !open.has(digest));
    if (began.length > 0 || ended.length > 0) this.#door.post("reading", { began, ended });
    this.#told = open;
    if (open.size > 0) this.stir();
  }
}
