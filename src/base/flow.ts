/**
 * Bytes on their way from where they arrive to where they are kept, put straight into memory that the receiver owns: no
 * buffer is made for them on the way, and none is held by two.
 */
import { Readable } from "node:stream";

/** Where bytes go. */
export interface Sink {
  /** Memory for the next bytes; never empty, and the same until `filled` is called. */
  space(): Uint8Array;
  /**
   * So many bytes were put at the beginning of the last `space()`. False: no more until `Flow.resume`. What it throws
   * ends the flow.
   */
  filled(count: number): boolean;
}

/** Where bytes come from. Nothing arrives before `pour`. */
export interface Flow {
  /**
   * Puts what arrives into the sink. Called once.
   * @param done called once, when nothing more comes: without an error at the proper end, with what broke it otherwise,
   * and not at all after `destroy`.
   */
  pour(sink: Sink, done: (error: Error | undefined) => void): void;
  /** After `filled` said false. */
  resume(): void;
  /** Ends it at once. May be called at any time, and more than once. */
  destroy(): void;
  /** For how many milliseconds until now limits of our own kept it from bringing anything; none where it does not say. */
  keptMs?(): number;
}

/** A stream as a flow, for what has to be decoded or was received otherwise: one copy. */
export function flowOf(stream: Readable): Flow {
  // It may fail before anyone pours, and after it was given up.
  stream.on("error", () => {});
  let sink: Sink | undefined;
  let rest: Buffer | undefined;
  let ended = false;
  let over = false;
  const put = (chunk: Buffer): boolean => {
    for (let at = 0; at < chunk.length; ) {
      const space = sink?.space();
      if (space === undefined) return false;
      const count = Math.min(space.length, chunk.length - at);
      space.set(chunk.subarray(at, at + count));
      at += count;
      if (sink?.filled(count) === false) {
        rest = at < chunk.length ? chunk.subarray(at) : undefined;
        return false;
      }
    }
    rest = undefined;
    return true;
  };
  let finish: ((error: Error | undefined) => void) | undefined;
  const attempt = (chunk: Buffer) => {
    try {
      if (!put(chunk)) stream.pause();
      else if (ended) finish?.(undefined);
      else if (stream.isPaused()) stream.resume();
    } catch (error) {
      finish?.(error instanceof Error ? error : new Error(String(error)));
    }
  };
  return {
    pour(into, done) {
      sink = into;
      finish = (error) => {
        if (over) return;
        over = true;
        stream.destroy();
        done(error);
      };
      const end = finish;
      const broken = () => {
        if (!ended) end(stream.errored ?? new Error("the stream was closed before its end"));
      };
      if (stream.destroyed) {
        broken();
        return;
      }
      stream.on("data", (chunk: Buffer) => attempt(chunk));
      stream.once("end", () => {
        // The receiver may still have to take the last piece.
        ended = true;
        if (rest === undefined) end(undefined);
      });
      stream.once("error", end);
      stream.once("close", broken);
    },
    resume() {
      if (over) return;
      if (rest !== undefined) attempt(rest);
      else if (ended) finish?.(undefined);
      else stream.resume();
    },
    destroy() {
      over = true;
      stream.destroy();
    },
  };
}

const PIECE_BYTES = 64 * 1024;

/** A flow as a stream, for who hands bytes on and keeps none. Destroying it destroys the flow. */
export function readableOf(flow: Flow): Readable {
  let poured = false;
  let space = Buffer.alloc(0);
  const stream = new Readable({
    highWaterMark: 256 * 1024,
    read() {
      if (poured) {
        flow.resume();
        return;
      }
      poured = true;
      flow.pour(
        {
          space: () => {
            if (space.length === 0) space = Buffer.allocUnsafeSlow(PIECE_BYTES);
            return space;
          },
          filled: (count) => {
            const bytes = space.subarray(0, count);
            space = space.subarray(count);
            return stream.push(bytes);
          },
        },
        (error) => {
          if (error === undefined) stream.push(null);
          else stream.destroy(error);
        },
      );
    },
    destroy(error, callback) {
      flow.destroy();
      callback(error);
    },
  });
  return stream;
}
