/**
 * One client's end of a body that several may read: it asks for more as its client takes what it has, and can be moved from
 * one body to another in between.
 */
import { Readable } from "node:stream";
import type { Window } from "./window.ts";

const READER_BYTES = 256 * 1024;

/** Where a reader has its bytes from. */
export interface Feed {
  /** The reader wants more than it has. */
  serve(reader: RelayReader): void;
  leave(reader: RelayReader): void;
}

/** What one client reads: bytes from `position` up to `end`, not inclusive. */
export class RelayReader extends Readable {
  readonly end: number;
  position: number;
  relay: Feed | undefined;
  /** It has been asked for more than it had. */
  wanting = false;
  #serving = false;

  constructor(position: number, end: number) {
    super({ highWaterMark: READER_BYTES });
    this.position = position;
    this.end = end;
    // What it complains of after it was given up is nobody's business.
    this.on("error", () => {});
  }

  override _read(): void {
    this.wanting = true;
    this.relay?.serve(this);
  }

  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    const { relay } = this;
    this.relay = undefined;
    relay?.leave(this);
    callback(error);
  }

  /** Takes what the window has for it. @param limit not inclusive. */
  feed(window: Window, limit: number): void {
    if (this.#serving) return;
    this.#serving = true;
    const stop = Math.min(this.end, limit);
    while (this.wanting && this.position < stop) {
      const bytes = window.read(this.position, stop);
      if (bytes === undefined) break;
      this.position += bytes.length;
      this.wanting = this.push(bytes);
    }
    this.#serving = false;
    if (this.position < this.end) return;
    this.relay?.leave(this);
    this.relay = undefined;
    this.push(null);
  }
}
