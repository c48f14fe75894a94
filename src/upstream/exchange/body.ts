/**
 * Bodies from upstreams: read whole within a limit, or handed on as a flow.
 *
 * The invariant: a body that ends short of what was announced is an error, never an end; no more than was announced is
 * handed on; every error is a `Failure`. Whatever is not read is destroyed.
 */
import { pipeline, type Transform } from "node:stream";
import { Failure } from "../../base/failure.ts";
import { type Flow, flowOf, readableOf, type Sink } from "../../base/flow.ts";
import { decoderOf, tooLarge } from "./coding.ts";

export interface Announced {
  /** Bytes that must come; undefined where the upstream did not say. */
  readonly bytes: number | undefined;
  /** Makes a `Failure` of whatever the source failed with. */
  readonly explain: (error: unknown) => Failure;
  /** Called once, when no more bytes come. */
  readonly onEnd?: (receivedBytes: number) => void;
}

/** Reads all of it, and destroys the source as soon as it has more than `maxBytes`. */
export function readWhole(source: Flow, maxBytes: number, announced: Announced): Promise<Buffer> {
  if (announced.bytes !== undefined && announced.bytes > maxBytes) {
    source.destroy();
    announced.onEnd?.(0);
    return Promise.reject(tooLarge(maxBytes));
  }
  const pieces = new Pieces(() => {
    if (pieces.bytes > maxBytes) throw tooLarge(maxBytes);
    return true;
  });
  return new Promise((resolve, reject) => {
    new MeasuredFlow(source, announced).pour(pieces, (error) => {
      if (error === undefined) resolve(pieces.whole());
      else reject(error);
    });
  });
}

/** Reads the beginning of an error answer, so that its connection can be used again where the body is small. */
export function readExcerpt(source: Flow, maxBytes: number): Promise<Buffer> {
  return new Promise((resolve) => {
    // Half of an error's text is good enough.
    const enough = () => resolve(pieces.whole().subarray(0, maxBytes));
    const pieces = new Pieces(() => {
      if (pieces.bytes < maxBytes) return true;
      source.destroy();
      enough();
      return false;
    });
    source.pour(pieces, enough);
  });
}

/** Reads a body that is none, so that its connection is used again. */
export function readNothing(source: Flow): void {
  const pieces = new Pieces(() => {
    source.destroy();
    return false;
  });
  source.pour(pieces, () => {});
}

/** The body for whoever stores it, decoded where the upstream encoded it. */
export function openBody(source: Flow, coding: string, announced: Announced): Flow {
  if (coding === "identity") return new MeasuredFlow(source, announced);
  let decoder: Transform;
  try {
    decoder = decoderOf(coding).stream();
  } catch (error) {
    source.destroy();
    announced.onEnd?.(0);
    throw error;
  }
  pipeline(readableOf(new MeasuredFlow(source, announced)), decoder, () => {});
  const explain = (error: unknown) =>
    error instanceof Failure
      ? error
      : new Failure("corrupt", `the upstream sent malformed ${coding}`, { cause: error });
  return new MeasuredFlow(flowOf(decoder), { bytes: undefined, explain });
}

/** Passes a source on, counting: errors explained, shortage and excess errors. */
class MeasuredFlow implements Flow {
  readonly #source: Flow;
  readonly #announced: Announced;
  #received = 0;
  #over = false;

  constructor(source: Flow, announced: Announced) {
    this.#source = source;
    this.#announced = announced;
  }

  pour(sink: Sink, done: (error: Error | undefined) => void): void {
    const { bytes: announced, explain } = this.#announced;
    const excess = new Uint8Array(1);
    // The receiver's own trouble is not the upstream's.
    let own: Error | undefined;
    const guarded: Sink = {
      space: () => {
        if (announced === undefined) return sink.space();
        const left = announced - this.#received;
        if (left === 0) return excess;
        const space = sink.space();
        return space.length > left ? space.subarray(0, left) : space;
      },
      filled: (count) => {
        this.#received += count;
        try {
          if (announced !== undefined && this.#received > announced) throw this.#lengthFailure("more");
          return sink.filled(count);
        } catch (error) {
          own = error instanceof Error ? error : new Error(String(error));
          throw own;
        }
      },
    };
    this.#source.pour(guarded, (error) => {
      this.#end();
      if (error !== undefined) done(error === own ? own : explain(error));
      else if (announced !== undefined && this.#received < announced) done(this.#lengthFailure("less"));
      else done(undefined);
    });
  }

  resume(): void {
    this.#source.resume();
  }

  keptMs(): number {
    return this.#source.keptMs?.() ?? 0;
  }

  destroy(): void {
    this.#source.destroy();
    this.#end();
  }

  #end(): void {
    if (this.#over) return;
    this.#over = true;
    this.#announced.onEnd?.(this.#received);
  }

  #lengthFailure(than: "more" | "less"): Failure {
    return new Failure("unreachable", `the upstream sent ${than} than it announced`, {
      detail: { announcedBytes: this.#announced.bytes, receivedBytes: this.#received },
    });
  }
}

const PIECE_BYTES = 64 * 1024;

/** Keeps all that comes. */
class Pieces implements Sink {
  readonly #filled: () => boolean;
  readonly #pieces: Buffer[] = [];
  #space = Buffer.alloc(0);
  bytes = 0;

  /** @param filled called after each piece, like the sink's own. */
  constructor(filled: () => boolean) {
    this.#filled = filled;
  }

  space(): Uint8Array {
    if (this.#space.length === 0) this.#space = Buffer.allocUnsafeSlow(PIECE_BYTES);
    return this.#space;
  }

  filled(count: number): boolean {
    this.#pieces.push(this.#space.subarray(0, count));
    this.#space = this.#space.subarray(count);
    this.bytes += count;
    return this.#filled();
  }

  whole(): Buffer {
    return Buffer.concat(this.#pieces);
  }
}
