/**
 * Reads no more bytes a second than allowed, by waiting behind each piece; what was not used is not saved up.
 */
import { type Clock, pause } from "../base/clock.ts";

/** What a file costs beside its bytes: the disk has to find it, and this process to do with it. */
const FILE_BYTES = 32 * 1024;
/** Shorter waits are put together. */
const MIN_WAIT_MS = 20;
const MAX_PIECE_BYTES = 4 * 1024 * 1024;
const MIN_PIECE_BYTES = 64 * 1024;
const PIECES_PER_SECOND = 8;

export class ScrubPace {
  readonly #clock: Clock;
  readonly #bytesPerSecond: number;
  /** How far the bytes that were read are ahead of the time they should have taken. */
  #aheadMs = 0;
  #lastAt: number;

  /** @param bytesPerSecond null = as fast as it goes. */
  constructor(clock: Clock, bytesPerSecond: number | null) {
    this.#clock = clock;
    this.#bytesPerSecond = bytesPerSecond ?? Number.POSITIVE_INFINITY;
    this.#lastAt = clock.now();
  }

  /** How much is read at a time. */
  get pieceBytes(): number {
    const share = Math.floor(this.#bytesPerSecond / PIECES_PER_SECOND);
    return Math.min(MAX_PIECE_BYTES, Math.max(MIN_PIECE_BYTES, share));
  }

  /**
   * To be awaited after so much was read.
   * @param ended a file's end was reached.
   * @throws the signal's reason.
   */
  async spend(readBytes: number, ended: boolean, signal: AbortSignal): Promise<void> {
    const bytes = readBytes + (ended ? FILE_BYTES : 0);
    signal.throwIfAborted();
    const now = this.#clock.now();
    // A clock that is set neither gives time nor takes it.
    const passed = Math.min(Math.max(0, now - this.#lastAt), this.#aheadMs);
    this.#lastAt = now;
    this.#aheadMs += (bytes * 1000) / this.#bytesPerSecond - passed;
    if (this.#aheadMs < MIN_WAIT_MS) return;
    await pause(this.#clock, this.#aheadMs, signal);
  }
}
