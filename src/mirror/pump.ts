/**
 * Moves an upstream's body into a lane of an ingest: no promise and no copy per chunk, and the upstream waits for the disk.
 *
 * A body that goes on and on bringing next to nothing has broken; what we ourselves make wait has not.
 */
import type { Clock } from "../base/clock.ts";
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
  readonly clock: Clock;
}

/** Less than a kibibyte a second, over so long, is no download. */
const TRICKLE_MS = 60_000;
const TRICKLE_BYTES = (TRICKLE_MS / 1000) * 1024;

const SKIP_SPACE_BYTES = 64 * 1024;

/**
 * Resolves when the body has ended, or brought what it should, and every byte was taken over.
 * @throws whatever the body or the ingest fails with.
 */
export function pump(flow: Flow, lane: Lane, { skipBytes, limitBytes, goesOn, clock }: PumpOptions): Promise<void> {
  const watch = new TrickleWatch(clock, () => flow.keptMs?.() ?? 0);
  return new Promise<void>((resolve, reject) => {
    let skip = skipBytes;
    const waste = skipBytes > 0 ? new Uint8Array(SKIP_SPACE_BYTES) : undefined;
    const sink: Sink = {
      space: () => (skip > 0 && waste !== undefined ? waste.subarray(0, Math.min(skip, waste.length)) : lane.space()),
      filled(count) {
        watch.came(count);
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
        if (!more) {
          watch.hold();
          lane.onDrain(() => {
            watch.release();
            flow.resume();
          });
        }
        return more;
      },
    };
    watch.start(() => {
      flow.destroy();
      reject(new Failure("unreachable", "the upstream sends next to nothing"));
    });
    flow.pour(sink, (error) => {
      if (error === undefined) resolve();
      else reject(isFailure(error) ? error : new Failure("unreachable", messageOf(error), { cause: error }));
    });
  }).finally(() => watch.end());
}

/** Sees that something comes, in a minute in which nothing of ours keeps it from coming. */
class TrickleWatch {
  readonly #clock: Clock;
  #bytes = 0;
  #held = false;
  /** At any time since the last look. */
  #wasHeld = false;
  #cancel: (() => void) | undefined;
  /** For how long our own limits have kept the body. */
  readonly #findKeptMs: () => number;
  /** As much of that as was there at the last look. */
  #keptMs = 0;

  constructor(clock: Clock, findKeptMs: () => number) {
    this.#clock = clock;
    this.#findKeptMs = findKeptMs;
  }

  start(onTrickle: () => void, inMs = TRICKLE_MS): void {
    this.#cancel = this.#clock.after(inMs, () => {
      const keptMs = this.#findKeptMs();
      const missingMs = Math.min(TRICKLE_MS, keptMs - this.#keptMs);
      this.#keptMs = keptMs;
      if (missingMs > 0) {
        this.start(onTrickle, missingMs);
        return;
      }
      const trickles = !this.#wasHeld && this.#bytes < TRICKLE_BYTES;
      this.#bytes = 0;
      this.#wasHeld = this.#held;
      if (trickles) onTrickle();
      else this.start(onTrickle);
    });
  }

  came(bytes: number): void {
    this.#bytes += bytes;
  }

  hold(): void {
    this.#held = true;
    this.#wasHeld = true;
  }

  release(): void {
    this.#held = false;
  }

  end(): void {
    this.#cancel?.();
  }
}
