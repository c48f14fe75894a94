/**
 * The origin side's end of one front's interest in a fill: tells how far it has come, however many clients of that front
 * read it, and no faster than a front can make use of.
 */

import type { Ticket } from "../mirror/ticket.ts";
import type { Follower } from "../store/follower.ts";
import type { Channel } from "./channel.ts";
import { textOfError } from "./failures.ts";
import type { FillState, FrontAsks, FrontPosts } from "./messages.ts";

/** At most so often, but for the first bytes and the end. */
const PAUSE_MS = 2;

export class Watch {
  readonly #id: number;
  readonly #ticket: Ticket;
  readonly #channel: Channel<FrontAsks, FrontPosts>;
  #follower: Follower | undefined;
  #told = 0;
  #over = false;
  #timer: NodeJS.Timeout | undefined;

  constructor(id: number, ticket: Ticket, channel: Channel<FrontAsks, FrontPosts>) {
    this.#id = id;
    this.#ticket = ticket;
    this.#channel = channel;
    ticket.ready.then(
      (absence) => {
        if (absence === undefined) this.#begin();
        else this.#tell({ state: "absent", absence });
      },
      (error: unknown) => this.#tell({ state: "failed", error: textOfError(error) }),
    );
  }

  /** The front needs it no more. May be called more than once. */
  end(): void {
    this.#over = true;
    clearTimeout(this.#timer);
    this.#follower?.close();
    this.#follower = undefined;
    this.#ticket.release();
  }

  #begin(): void {
    if (this.#over) return;
    this.#follower = this.#ticket.follow();
    const { visibleBytes, bytesPerSecond } = this.#ticket.progress();
    const { sizeBytes, path } = this.#follower;
    this.#told = visibleBytes;
    this.#tell({ state: "ready", sizeBytes, visibleBytes, bytesPerSecond, path });
    this.#wait();
  }

  #tell(state: FillState): void {
    if (this.#over) return;
    this.#channel.post("fill", { id: this.#id, joined: this.#ticket.joined, place: placeOf(this.#ticket), ...state });
  }

  #wait(): void {
    if (this.#over || this.#follower === undefined || this.#told >= this.#follower.sizeBytes) return;
    this.#follower.wait(this.#told, () => this.#report());
  }

  #report(): void {
    const follower = this.#follower;
    if (this.#over || follower === undefined) return;
    const failure = follower.failure();
    if (failure !== undefined) {
      this.#channel.post("broken", { id: this.#id, error: textOfError(failure) });
      return;
    }
    this.#told = follower.visible();
    const { bytesPerSecond } = this.#ticket.progress();
    // The next one is sent when this one has left: a front that falls behind is told less often.
    this.#channel.post("progress", { id: this.#id, visibleBytes: this.#told, bytesPerSecond }, () => {
      if (!this.#over) this.#timer = setTimeout(() => this.#wait(), PAUSE_MS).unref();
    });
  }
}

function placeOf({ place }: Ticket) {
  return { upstream: place.upstream, repository: place.repository };
}
