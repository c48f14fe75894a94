/**
 * Writes pieces of a stored or growing blob to a response: big positional reads into lent memory, one read ahead of the
 * write that is under way, no promise and no stream per chunk. Where the kernel can copy by itself, it does most of it,
 * in turns with everyone else who wants that.
 *
 * A buffer is given back only after the socket has let go of it. The body ends exactly at its announced length, or the
 * connection is broken off.
 */
import { read } from "node:fs";
import type { Readable } from "node:stream";
import { Failure, isFailure } from "../base/failure.ts";
import type { Slice } from "../mirror/slice.ts";
import type { Follower } from "../store/follower.ts";
import { Buffers, LARGEST_BYTES } from "./buffers.ts";
import type { Exchange } from "./exchange.ts";
import type { KernelCopy } from "./kernelcopy.ts";
import { passOn } from "./pass.ts";
import { Turns } from "./turns.ts";

/** Text between the parts of a multipart body, or bytes of the blob. */
export type Piece = Buffer | Slice;

/** One being written, one being read. */
const MAX_BUFFERS = 2;
/** With the kernel's help an ordinary write serves to wait until the socket takes more: a small one, if it is at hand. */
const PARK_BYTES = 4 * 1024;
/** Read where the bytes are not at hand; the kernel reads ahead of it. */
const HELPED_BYTES = 256 * 1024;
/** Less than this is written the ordinary way, without another turn. */
const MIN_COPY_BYTES = 64 * 1024;
/** How far ahead is looked whether bytes are at hand. */
const LOOK_AHEAD_BYTES = 2 * 1024 * 1024;

/** What all answers share: memory, turns, and the kernel's help where there is any. */
export class Sending {
  readonly kernelCopy: KernelCopy | undefined;
  readonly buffers = new Buffers();
  readonly turns = new Turns();

  /** @param kernelCopy undefined where the kernel is not to copy, or cannot. */
  constructor(kernelCopy?: KernelCopy) {
    this.kernelCopy = kernelCopy;
  }

  /**
   * Takes over the follower and ends the answer, whose headers have been set.
   * @param fail called with what kept the body from its end; the answer may not have begun then.
   * @param rescue what goes on from where the disk has failed.
   */
  send(
    exchange: Exchange,
    follower: Follower,
    pieces: readonly Piece[],
    fail: (error: Error) => void,
    rescue?: Rescue,
  ): void {
    new Sender(this, exchange, follower, pieces, fail, rescue).start();
  }
}

/**
 * The bytes of the slice from somewhere else, or as an error of theirs why not.
 * @param follower the one that failed, which is taken over; undefined for further pieces of the same answer.
 * @param damage why the file itself cannot be read; undefined where it is not to blame.
 */
export type Rescue = (follower: Follower | undefined, slice: Slice, damage: Failure | undefined) => Readable;

class Sender {
  readonly #sending: Sending;
  readonly #exchange: Exchange;
  readonly #onFailure: (error: Error) => void;
  readonly #follower: Follower;
  readonly #pieces: readonly Piece[];
  readonly #rescue: Rescue | undefined;
  readonly #kernelCopy: KernelCopy | undefined;
  readonly #turn = (limitBytes: number) => this.#copy(limitBytes);
  /** What is read into or written from. */
  readonly #lent = new Set<Buffer>();
  #readInto: Buffer | undefined;
  #piece = 0;
  #position = 0;
  /** Up to here the bytes were in the page cache a moment ago. */
  #cachedTo = 0;
  #reading = false;
  #waiting = false;
  /** Buffers that were read and wait for their turn to be written. */
  #unwritten = 0;
  /** Queued for a turn: nothing else goes on then. */
  #queued = false;
  #over = false;
  /** A read has failed, and told of it. */
  #broken: Failure | undefined;
  /** The bytes come from elsewhere now. */
  #rescued = false;

  constructor(
    sending: Sending,
    exchange: Exchange,
    follower: Follower,
    pieces: readonly Piece[],
    onFailure: (error: Error) => void,
    rescue: Rescue | undefined,
  ) {
    this.#rescue = rescue;
    this.#sending = sending;
    this.#exchange = exchange;
    this.#onFailure = onFailure;
    this.#follower = follower;
    this.#pieces = pieces;
    this.#kernelCopy = exchange.plain ? sending.kernelCopy : undefined;
  }

  start(): void {
    this.#exchange.response.once("close", () => {
      this.#end();
      this.#forfeit();
    });
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
    if (this.#over || this.#reading || this.#waiting || this.#queued || this.#rescued) return;
    if (this.#pieces[this.#piece] === undefined) {
      if (this.#unwritten > 0) return;
      const wrong = this.#follower.failure();
      // The last of it has not left yet: a client must not be told that it has all of a damaged blob.
      if (isFailure(wrong, "corrupt")) {
        this.#fail(wrong);
        return;
      }
      this.#end();
      this.#exchange.end();
      return;
    }
    const failure = this.#broken ?? this.#follower.failure();
    if (failure !== undefined) {
      this.#strand(failure);
      return;
    }
    if (this.#lent.size === (this.#kernelCopy === undefined ? MAX_BUFFERS : 1)) return;
    const available = this.#available();
    if (available <= 0) this.#await();
    else if (!this.#writeCached(available)) this.#read(available);
  }

  #await(): void {
    this.#waiting = true;
    this.#follower.wait(this.#position, () => {
      this.#waiting = false;
      // Headers leave by an ordinary write.
      if (this.#exchange.begun && this.#mayCopy()) this.#queue();
      else this.#pump();
    });
  }

  /** With the kernel's help: a little of what is at hand. False where nothing is. */
  #writeCached(available: number): boolean {
    if (this.#kernelCopy === undefined) return false;
    const buffer = this.#lend(Math.min(available, PARK_BYTES));
    const length = Math.min(available, buffer.length);
    const count = this.#kernelCopy.readCached(this.#follower.fd, buffer, length, this.#position);
    if (count > 0) this.#write(buffer, count);
    else this.#giveBack(buffer);
    return count > 0;
  }

  #read(available: number): void {
    const most = this.#kernelCopy === undefined ? Math.min(LARGEST_BYTES, this.#exchange.chunkBytes) : HELPED_BYTES;
    const buffer = this.#lend(Math.min(available, most));
    this.#reading = true;
    this.#readInto = buffer;
    const length = Math.min(available, buffer.length);
    read(this.#follower.fd, buffer, 0, length, this.#position, (error, count) => this.#onRead(error, count, buffer));
  }

  #onRead(error: Error | null, count: number, buffer: Buffer): void {
    this.#reading = false;
    this.#readInto = undefined;
    if (this.#over || error !== null || count === 0) this.#giveBack(buffer);
    if (this.#over) {
      this.#follower.close();
      return;
    }
    if (error !== null || count === 0) {
      const what = error === null ? "is shorter than it was" : `cannot be read: ${error.message}`;
      this.#broken = new Failure("storage", `the stored blob ${what}`, { cause: error });
      this.#pump();
      return;
    }
    if (this.#kernelCopy === undefined && this.#pieces.length === 1) this.#writeInTurn(buffer, count);
    else this.#write(buffer, count);
    this.#pump();
  }

  /** Large writes take as long as copying does. Text between pieces keeps its place by not being written like this. */
  #writeInTurn(buffer: Buffer, count: number): void {
    this.#advance(count);
    this.#unwritten += 1;
    this.#sending.turns.want(() => {
      this.#unwritten -= 1;
      if (this.#over) {
        this.#giveBack(buffer);
        return IDLE;
      }
      this.#hand(buffer, count);
      this.#pump();
      return { bytes: count, again: false };
    });
  }

  #write(buffer: Buffer, count: number): void {
    this.#hand(buffer, count);
    this.#advance(count);
  }

  #hand(buffer: Buffer, count: number): void {
    this.#exchange.write(count === buffer.length ? buffer : buffer.subarray(0, count), (failed) => {
      // A socket that broke has let go as well.
      this.#giveBack(buffer);
      if (failed !== undefined && failed !== null) return;
      if (this.#mayCopy()) this.#queue();
      else this.#pump();
    });
  }

  /** Everything written has left: the kernel may go on from here. */
  #mayCopy(): boolean {
    if (this.#kernelCopy === undefined || this.#over || this.#rescued) return false;
    if (this.#reading || this.#waiting || this.#queued) return false;
    const { response } = this.#exchange;
    if (response.socket === null || response.writableLength > 0) return false;
    return this.#broken === undefined && this.#follower.failure() === undefined && this.#available() >= MIN_COPY_BYTES;
  }

  #queue(): void {
    this.#queued = true;
    this.#sending.turns.want(this.#turn);
  }

  #copy(limitBytes: number): { readonly bytes: number; readonly again: boolean } {
    this.#queued = false;
    const { socket } = this.#exchange.response;
    if (socket === null || !this.#mayCopy()) {
      this.#pump();
      return IDLE;
    }
    const count = Math.min(this.#available(), limitBytes);
    const bytes = this.#isCached(count)
      ? (this.#kernelCopy?.copy(socket, this.#follower.fd, this.#position, count) ?? 0)
      : 0;
    this.#exchange.bytes += bytes;
    this.#advance(bytes);
    // Node does not see that anything moves on this connection.
    if (bytes > 0) socket.setTimeout(socket.timeout ?? 0);
    // The socket took it all and may take more; otherwise an ordinary write waits until it does.
    if (bytes === count && this.#available() >= MIN_COPY_BYTES) {
      this.#queued = true;
      return { bytes, again: true };
    }
    this.#pump();
    return { bytes, again: false };
  }

  #isCached(count: number): boolean {
    if (this.#position + count <= this.#cachedTo && this.#position >= this.#cachedTo - LOOK_AHEAD_BYTES) return true;
    for (const bytes of [Math.min(this.#available(), LOOK_AHEAD_BYTES), count]) {
      if (this.#kernelCopy?.isCached(this.#follower.fd, this.#position, bytes) !== true) continue;
      this.#cachedTo = this.#position + bytes;
      return true;
    }
    return false;
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

  #lend(bytes: number): Buffer {
    const buffer = this.#sending.buffers.lend(bytes);
    this.#lent.add(buffer);
    return buffer;
  }

  #giveBack(buffer: Buffer): void {
    if (this.#lent.delete(buffer)) this.#sending.buffers.giveBack(buffer);
  }

  /** Of a response that is gone nobody says what it still holds: that memory is not lent to anyone again. */
  #forfeit(): void {
    for (const buffer of this.#lent) {
      // A read that runs says when it is done.
      if (buffer === this.#readInto) continue;
      this.#lent.delete(buffer);
      this.#sending.buffers.forfeit(buffer);
    }
  }

  /** The file has failed: what of the answer was read before it leaves, and the rest comes from elsewhere if it can. */
  #strand(failure: Error): void {
    if (this.#rescue === undefined || !isFailure(failure, "storage")) {
      this.#fail(failure);
      return;
    }
    // Their turns come, and lead here again.
    if (this.#unwritten > 0) return;
    this.#rescued = true;
    this.#goOn(this.#rescue, this.#follower, this.#broken);
  }

  /** Piece by piece. */
  #goOn(rescue: Rescue, follower: Follower | undefined, damage: Failure | undefined): void {
    const piece = this.#pieces[this.#piece];
    if (piece === undefined || Buffer.isBuffer(piece)) {
      this.#end();
      this.#exchange.end();
      return;
    }
    const slice = { start: this.#position, end: piece.end };
    const length = slice.end - slice.start + 1;
    const body = rescue(follower, slice, damage);
    passOn(
      this.#exchange,
      body,
      length,
      (error) => this.#fail(error),
      () => {
        this.#advance(length);
        this.#goOn(rescue, undefined, undefined);
      },
    );
  }

  #fail(error: Error): void {
    this.#end();
    this.#onFailure(error);
  }

  /** The descriptor stays open while a read of ours runs: `#onRead` closes it then. */
  #end(): void {
    if (this.#over) return;
    this.#over = true;
    if (!this.#reading && !this.#rescued) this.#follower.close();
  }
}

const IDLE = { bytes: 0, again: false };
