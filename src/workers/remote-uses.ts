/**
 * Uses that a front notes: gathered, and told to the origin side once a second. What was noted before the front's end is
 * told before it; what a front that dies has not told is lost, a second's worth.
 */
import type { Clock } from "../base/clock.ts";
import type { UseNotes } from "../meta/usage.ts";
import type { Digest } from "../oci/digest.ts";
import type { Channel } from "./channel.ts";
import type { DoorAsks, DoorPosts } from "./messages.ts";

const TOLD_MS = 1000;
/** So many are told at once, however soon that is. */
const MAX_NOTED = 10_000;

export class RemoteUses implements UseNotes {
  readonly #door: Pick<Channel<DoorAsks, DoorPosts>, "post">;
  readonly #clock: Clock;
  readonly #noted = new Map<Digest, number>();
  #cancel: (() => void) | undefined;

  constructor(door: Pick<Channel<DoorAsks, DoorPosts>, "post">, clock: Clock) {
    this.#door = door;
    this.#clock = clock;
  }

  note(digest: Digest, uses = 1): void {
    this.#noted.set(digest, (this.#noted.get(digest) ?? 0) + uses);
    if (this.#noted.size >= MAX_NOTED) this.#tell();
    else this.#cancel ??= this.#clock.after(TOLD_MS, () => this.#tell());
  }

  /** Tells what is left to tell. */
  stop(): void {
    this.#tell();
  }

  #tell(): void {
    this.#cancel?.();
    this.#cancel = undefined;
    if (this.#noted.size > 0) this.#door.post("uses", [...this.#noted]);
    this.#noted.clear();
  }
}
