/**
 * Moves an upstream's body into a lane of an ingest: no promise and no copy per chunk, and the upstream waits for the disk.
 */
import { Failure, isFailure, messageOf } from "../base/failure.ts";
import type { Flow, Sink } from "../base/flow.ts";
import type { Lane } from "../store/blobstore.ts";
import { noRoom } from "./capacity.ts";

export interface PumpOptions {
  /** How many bytes at the body's start are there already (an upstream that ignores ranges). */
  readonly skipBytes: number;
  /** How far the blob may go, where its size is not known. */
  readonly limitBytes: number;
  /** The body goes on for others when the lane is full. */
  readonly goesOn: boolean;
}

const SKIP_SPACE_BYTES = 64 * 1024;

/**
 * Resolves when the body has ended, or brought what it should, and every byte was taken over.
 * @throws whatever the body or the ingest fails with.
 */
export function pump(flow: Flow, lane: Lane, { skipBytes, limitBytes, goesOn }: PumpOptions): Promise<void> {
  return new Promise((resolve, reject) => {
    let skip = skipBytes;
    const waste = skipBytes > 0 ? new Uint8Array(SKIP_SPACE_BYTES) : undefined;
    const sink: Sink = {
      space: () => (skip > 0 && waste !== undefined ? waste.subarray(0, Math.min(skip, waste.length)) : lane.space()),
      filled(count) {
        if (skip > 0) {
          skip -= count;
          return true;
        }
        if (lane.position + count > limitBytes) throw noRoom("cache-full");
        const more = lane.filled(count);
        if (goesOn && lane.isFull) {
          flow.destroy();
          resolve();
          return false;
        }
        if (!more) lane.onDrain(() => flow.resume());
        return more;
      },
    };
    flow.pour(sink, (error) => {
      if (error === undefined) resolve();
      else reject(isFailure(error) ? error : new Failure("unreachable", messageOf(error), { cause: error }));
    });
  });
}
