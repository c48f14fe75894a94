/**
 * Writes pieces of a stored or growing blob to a response: big positional reads, one read ahead of the write that is
 * under way, no promise and no stream per chunk. Where the kernel can copy by itself, it does most of it.
 *
 * A buffer is written to again only after the socket has let go of it. The body ends exactly at its announced length, or
 * the connection is broken off.
 */
import { read } from "node:fs";
import { Failure } from "../base/failure.ts";
import type { Slice } from "../mirror/slice.ts";
import type { Follower } from "../store/follower.ts";
import type { Exchange } from "./exchange.ts";
import type { KernelCopy } from "./kernelcopy.ts";

/** Text between the parts of a multipart body, or bytes of the blob. */
export type Piece = Buffer | Slice;

/** How bytes are moved: by reads of this size into so many buffers. */
interface Pace {
  readonly chunkBytes: number;
  readonly buffers: number;
}

const PORTABLE: Pace = { chunkBytes: 1024 * 1024, buffers: 2 };
/** With the kernel's help, an ordinary write serves to wait until the socket takes more: a small one, if it is at hand. */
const HELPED: Pace = { chunkBytes: 64 * 1024, buffers: 1 };
const PARK_BYTES = 16 * 1024;
/** More at once would keep the event loop from others. */
const MAX_COPY_BYTES = 2 * 1024 * 1024;
const MIN_COPY_BYTES = 128 * 1024;

/**
 * Takes over the follower and ends the answer, whose headers have been set.
 * @param fail called with what kept the body from its end; the answer may not have begun then.
 */
export function sendPieces(
  exchange: Exchange,
  follower: Follower,
  pieces: readonly Piece[],
  fail: (error: Error) => void,
  kernelCopy?: KernelCopy,
): void {
  new Sender(exchange, follower, pieces, fail, kernelCopy).start();
}

class Sender {
  readonly #exchange: Exchange;
  readonly #onFailure: (error: Error) => void;
  readonly #follower: Follower;
  readonly #pieces: readonly Piece[];
  readonly #kernelCopy: KernelCopy | undefined;
  readonly #pace: Pace;
  readonly #bufferBytes: number;
  readonly #free: Buffer[] = [];
  #made = 0;
  #piece = 0;
  #position = 0;
  #reading = false;
  #waiting = false;
  #over = false;

  constructor(
    exchange: Exchange,
    follower: Follower,
    pieces: readonly Piece[],
    onFailure: (error: Error) => void,
    kernelCopy: KernelCopy | undefined,
  ) {
    this.#exchange = exchange;
    this.#onFailure = onFailure;
    this.#follower = follower;
    this.#pieces = pieces;
    this.#kernelCopy = kernelCopy;
    this.#pace = kernelCopy === undefined ? PORTABLE : HELPED;
    this.#bufferBytes = Math.min(this.#pace.chunkBytes, longestOf(pieces));
  }

  start(): void {
    this.#exchange.response.once("close", () => this.#end());
    if (this.#exchange.gone) {
      this.#end();
      return;
    }
    this.#exchange.headSoon();
    this.#enter();
    this.#pump();
  }

  /** Steps over to the next piece of the blob, writing the text before it. */
  #enter(): void {
    for (;;) {
      const piece = this.#pieces[this.#piece];
      if (piece === undefined) return;
      if (!Buffer.isBuffer(piece)) {
        this.#position = piece.start;
        return;
      }
      this.#exchange.write(piece);
      this.#piece += 1;
    }
  }

  #pump(): void {
    if (this.#over || this.#reading || this.#waiting) return;
    const piece = this.#pieces[this.#piece];
    if (piece === undefined) {
      this.#end();
      this.#exchange.end();
      return;
    }
    const buffer = this.#free.pop() ?? this.#make();
    if (buffer === undefined) return;
    const failure = this.#follower.failure();
    if (failure !== undefined) {
      this.#fail(failure);
      return;
    }
    const available = this.#available();
    if (available <= 0) {
      this.#free.push(buffer);
      this.#waiting = true;
      this.#follower.wait(this.#position, () => {
        this.#waiting = false;
        this.#pump();
      });
      return;
    }
    const length = Math.min(available, buffer.length);
    const cached = this.#kernelCopy?.readCached(
      this.#follower.fd,
      buffer,
      Math.min(length, PARK_BYTES),
      this.#position,
    );
    if (cached !== undefined && cached > 0) {
      this.#onRead(null, cached, buffer);
      return;
    }
    this.#reading = true;
    read(this.#follower.fd, buffer, 0, length, this.#position, (error, count) => this.#onRead(error, count, buffer));
  }

  #onRead(error: Error | null, count: number, buffer: Buffer): void {
    this.#reading = false;
    if (this.#over) {
      this.#follower.close();
      return;
    }
    if (error !== null || count === 0) {
      const what = error === null ? "is shorter than it was" : `cannot be read: ${error.message}`;
      this.#fail(new Failure("storage", `the stored blob ${what}`, { cause: error }));
      return;
    }
    this.#exchange.write(count === buffer.length ? buffer : buffer.subarray(0, count), (failed) => {
      if (failed !== undefined && failed !== null) return;
      this.#free.push(buffer);
      this.#copy();
      this.#pump();
    });
    this.#advance(count);
    this.#pump();
  }

  /** Everything written has left: the kernel may go on from here. */
  #copy(): void {
    if (this.#kernelCopy === undefined || this.#over || this.#reading || this.#follower.failure() !== undefined) return;
    const { response } = this.#exchange;
    if (response.socket === null || response.writableLength > 0) return;
    const count = Math.min(this.#available(), MAX_COPY_BYTES);
    if (count < MIN_COPY_BYTES) return;
    const moved = this.#kernelCopy.copy(response.socket, this.#follower.fd, this.#position, count);
    this.#exchange.bytes += moved;
    this.#advance(moved);
  }

  /** Bytes of the current piece that may be sent now. */
  #available(): number {
    const piece = this.#pieces[this.#piece];
    if (piece === undefined || Buffer.isBuffer(piece)) return 0;
    return Math.min(this.#follower.visible(), piece.end + 1) - this.#position;
  }

  #advance(count: number): void {
    this.#position += count;
    const piece = this.#pieces[this.#piece];
    if (piece === undefined || Buffer.isBuffer(piece) || this.#position <= piece.end) return;
    this.#piece += 1;
    this.#enter();
  }

  #make(): Buffer | undefined {
    if (this.#made === this.#pace.buffers) return undefined;
    this.#made += 1;
    return Buffer.allocUnsafeSlow(this.#bufferBytes);
  }

  #fail(error: Error): void {
    this.#end();
    this.#onFailure(error);
  }

  /** The descriptor stays open while a read of ours runs: `#onRead` closes it then. */
  #end(): void {
    if (this.#over) return;
    this.#over = true;
    if (!this.#reading) this.#follower.close();
  }
}

function longestOf(pieces: readonly Piece[]): number {
  return pieces.reduce(
    (most, piece) => (Buffer.isBuffer(piece) ? most : Math.max(most, piece.end - piece.start + 1)),
    0,
  );
}
