/**
 * A body on its way from a connection into a sink: framing taken off, in memory of the sink's own wherever what comes
 * next is content; knows no socket.
 *
 * The invariants: memory that a sink was told of as filled is never read into again, nothing reaches the sink while it
 * waits, and what arrived before the connection broke is handed over before the error is.
 */
import type { Flow, Sink } from "../../base/flow.ts";
import { malformed, WireFault } from "./fault.ts";
import type { Framing } from "./framing.ts";

/** Shorter runs of content between framing are read together and copied. */
const MIN_STRAIGHT_BYTES = 64 * 1024;
/** More than TLS can still bring after it was told to stop. */
const MAX_HELD_BYTES = 1024 * 1024;

/** What an intake asks of its connection. */
export interface Line {
  /** Read on. */
  resume(): void;
  /** The body is over; `exact`: nothing came after it. */
  ended(exact: boolean): void;
  /** Nothing more is wanted. */
  cut(): void;
}

export class Intake implements Flow {
  readonly #framing: Framing;
  readonly #line: Line;
  #sink: Sink | undefined;
  #done: ((error: Error | undefined) => void) | undefined;
  /** Nobody poured yet, or the sink said no. */
  #waiting = true;
  #resumed = false;
  #over = false;
  #destroyed = false;
  #error: Error | undefined;
  /** What was read and could not be handed over. */
  #held: Uint8Array[] = [];
  #heldBytes = 0;
  /** How the connection ended, to be told after what is held. */
  #last: { readonly error: Error | undefined } | undefined;

  constructor(framing: Framing, line: Line) {
    this.#framing = framing;
    this.#line = line;
  }

  get over(): boolean {
    return this.#over;
  }

  /** Whether the connection is to bring more now. */
  get hungry(): boolean {
    return !this.#waiting && !this.#over;
  }

  /** Ends it where every byte was taken; `exact`: nothing came after it. */
  settle(exact = true): void {
    if (!this.#over && this.#framing.ended) this.#finish(exact);
  }

  /** The sink's memory for the next read; undefined where it has to be looked at first, and goes by `take`. */
  space(): Uint8Array | undefined {
    const { content, plain } = this.#framing;
    if (!this.hungry || this.#sink === undefined || content === 0) return undefined;
    if (!plain && content < MIN_STRAIGHT_BYTES) return undefined;
    try {
      const space = spaceOf(this.#sink);
      return space.length > content ? space.subarray(0, content) : space;
    } catch (error) {
      this.#fail(error);
      return undefined;
    }
  }

  /** So many bytes were read into the last `space()`. */
  filled(count: number): void {
    if (this.#over) return;
    this.#accept(count);
    this.settle();
  }

  /** Bytes as they came; they are copied. */
  take(bytes: Uint8Array): void {
    if (this.#over) return;
    if (this.#waiting || this.#held.length > 0) {
      this.#hold(bytes);
      return;
    }
    const at = this.#work(bytes);
    if (this.#over) return;
    this.settle(at === bytes.length);
    if (!this.#over && at < bytes.length) this.#hold(bytes.subarray(at));
  }

  /** The connection is gone, by an end or an error. */
  endOfConnection(error: Error | undefined): void {
    if (this.#over || this.#last !== undefined) return;
    this.#last = { error };
    if (this.#held.length === 0) this.#tellLast();
  }

  /** Ends it with an error at once, whatever is held. */
  fail(error: Error): void {
    this.#fail(error);
  }

  pour(sink: Sink, done: (error: Error | undefined) => void): void {
    if (this.#over) {
      if (!this.#destroyed) done(this.#error);
      return;
    }
    this.#sink = sink;
    this.#done = done;
    this.resume();
  }

  resume(): void {
    if (this.#over || this.#sink === undefined) return;
    if (!this.#waiting) {
      // It says so before it said that it must wait.
      this.#resumed = true;
      return;
    }
    this.#waiting = false;
    this.#release();
    if (this.hungry) this.#line.resume();
  }

  destroy(): void {
    this.#destroyed = true;
    if (this.#over) return;
    this.#close();
    this.#line.cut();
  }

  #release(): void {
    for (let bytes = this.#held.shift(); bytes !== undefined; bytes = this.#held.shift()) {
      this.#heldBytes -= bytes.length;
      const at = this.#work(bytes);
      if (this.#over) return;
      if (this.#framing.ended) {
        this.#finish(at === bytes.length && this.#held.length === 0);
        return;
      }
      if (at < bytes.length) {
        this.#held.unshift(bytes.subarray(at));
        this.#heldBytes += bytes.length - at;
        return;
      }
      if (this.#waiting) break;
    }
    if (this.#held.length === 0 && this.#last !== undefined) this.#tellLast();
  }

  /** Hands over until the bytes, the body or the sink's patience end. @returns how far it came. */
  #work(bytes: Uint8Array): number {
    let at = 0;
    try {
      while (at < bytes.length && this.hungry && !this.#framing.ended) {
        const { content } = this.#framing;
        if (content === 0) {
          at = this.#framing.frame(bytes, at);
          continue;
        }
        if (this.#sink === undefined) break;
        const space = spaceOf(this.#sink);
        const count = Math.min(content, space.length, bytes.length - at);
        space.set(bytes.subarray(at, at + count));
        at += count;
        this.#accept(count);
      }
    } catch (error) {
      this.#fail(error);
    }
    return at;
  }

  #accept(count: number): void {
    this.#framing.took(count);
    this.#resumed = false;
    try {
      if (this.#sink?.filled(count) === false && !this.#resumed) this.#waiting = true;
    } catch (error) {
      this.#fail(error);
    }
  }

  #hold(bytes: Uint8Array): void {
    this.#heldBytes += bytes.length;
    if (this.#heldBytes > MAX_HELD_BYTES) this.#fail(malformed("more than was asked for"));
    else this.#held.push(Buffer.from(bytes));
  }

  #tellLast(): void {
    const error = this.#last?.error;
    if (error !== undefined) this.#fail(error);
    else if (this.#framing.endOfConnection()) this.#finish(false);
    else this.#fail(new WireFault("WIRE_CLOSED", "the connection ended within a body"));
  }

  #finish(exact: boolean): void {
    const done = this.#done;
    const clean = exact && this.#framing.reusable && this.#held.length === 0 && this.#last === undefined;
    this.#close();
    this.#line.ended(clean);
    done?.(undefined);
  }

  #fail(thrown: unknown): void {
    if (this.#over) return;
    const done = this.#done;
    this.#error = thrown instanceof Error ? thrown : new Error(String(thrown));
    this.#close();
    this.#line.cut();
    done?.(this.#error);
  }

  #close(): void {
    this.#over = true;
    this.#sink = undefined;
    this.#done = undefined;
    this.#held = [];
    this.#heldBytes = 0;
  }
}

/** Reading into nothing would go on for ever. */
function spaceOf(sink: Sink): Uint8Array {
  const space = sink.space();
  if (space.length === 0) throw new Error("a sink without space for more");
  return space;
}
