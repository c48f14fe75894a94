/**
 * One body of an upstream on its way to several clients, through a bounded window in memory and past the store.
 *
 * The upstream is paused by the slowest of them, but not for long: who keeps others waiting is let go, to a body of his
 * own. The last 64 KiB leave only when the digest of the whole blob is right. A body that breaks is taken up at the byte it
 * reached; nobody left to read it ends it at once.
 */
import type { Hash } from "node:crypto";
import { type Clock, pause } from "../base/clock.ts";
import { Failure, isFailure, messageOf } from "../base/failure.ts";
import type { Emitter } from "../base/notices.ts";
import { algorithmOf, type Digest, finishDigest } from "../oci/digest.ts";
import { BARRIER_BYTES } from "../store/blobstore.ts";
import { type BlobBody, isAbsence } from "../upstream/upstream.ts";
import type { MirrorNotices } from "./notices.ts";
import type { Feed, RelayReader } from "./relayreader.ts";
import { judgeBreak, PROGRESS_BYTES, planResumption } from "./resumption.ts";
import type { Route } from "./route.ts";
import { Window } from "./window.ts";

/** So long may one reader keep others waiting. */
const SLOW_MS = 5000;
const SKIP_BYTES = 64 * 1024;

export interface RelayParts {
  readonly route: Route;
  readonly digest: Digest;
  readonly sizeBytes: number;
  readonly clock: Clock;
  readonly notices: Emitter<MirrorNotices>;
  /** How much it may hold now. */
  windowBytes(): number;
  /** Nobody new can join. Called once. */
  over(relay: Relay): void;
  /** Has kept others waiting for too long, and needs another body. */
  slow(reader: RelayReader, state: Hash): void;
}

export interface Beginning {
  /** The first byte to come. */
  readonly start: number;
  /** Of everything before it. Undefined: nothing is verified, and the tail of the blob is not in reach. */
  readonly hash: Hash | undefined;
  /** Where it ends, not inclusive. */
  readonly stop: number;
  /** Already asked for. */
  readonly arrival?: BlobBody | undefined;
}

export class Relay implements Feed {
  readonly sizeBytes: number;
  readonly #parts: RelayParts;
  readonly #window: Window;
  readonly #stop: number;
  readonly #abort = new AbortController();
  readonly #readers = new Set<RelayReader>();
  #arrival: BlobBody | undefined;
  #verified = false;
  #begun = false;
  #over = false;
  #paused = false;
  #cancelPatience: (() => void) | undefined;
  #trouble = { since: 0, fruitless: 0, waits: 0 };

  constructor(parts: RelayParts, { start, hash, stop, arrival }: Beginning) {
    this.#parts = parts;
    this.sizeBytes = parts.sizeBytes;
    this.#window = new Window(start, hash);
    this.#stop = stop;
    this.#arrival = arrival;
  }

  /** Whether a reader from here on would find its bytes, or has no more than so many others to wait for. */
  covers(position: number, aheadBytes = this.#parts.windowBytes()): boolean {
    const { from, head } = this.#window;
    return !this.#over && position >= from && position <= head + aheadBytes;
  }

  join(reader: RelayReader): void {
    this.#readers.add(reader);
    reader.relay = this;
    if (!this.#begun) {
      this.#begun = true;
      void this.#run();
    }
    this.serve(reader);
  }

  /** Nobody came to read it. */
  drop(): void {
    if (!this.#begun) this.#end();
  }

  serve(reader: RelayReader): void {
    reader.feed(this.#window, this.#limit);
    this.#moved();
  }

  leave(reader: RelayReader): void {
    if (this.#readers.delete(reader)) this.#moved();
  }

  /** Unverified bytes of a blob's tail are nobody's. */
  get #limit(): number {
    return this.#verified ? this.sizeBytes : this.sizeBytes - BARRIER_BYTES;
  }

  async #run(): Promise<void> {
    const { clock } = this.#parts;
    for (;;) {
      const from = this.#window.head;
      let answered = this.#arrival !== undefined;
      try {
        this.#arrival ??= await this.#ask();
        answered = true;
        await this.#pour(this.#arrival);
        this.#finish();
        return;
      } catch (error) {
        if (this.#over) return;
        const waitMs = this.#planAgain(error, answered, this.#window.head - from);
        if (waitMs === undefined) {
          this.#fail(error instanceof Error ? error : new Error(String(error)));
          return;
        }
        this.#drop();
        await pause(clock, waitMs, this.#abort.signal).catch(() => {});
        if (this.#over) return;
      } finally {
        this.#drop();
      }
    }
  }

  #drop(): void {
    this.#arrival?.body.destroy();
    this.#arrival = undefined;
  }

  #planAgain(error: unknown, answered: boolean, gainedBytes: number): number | undefined {
    const now = this.#parts.clock.now();
    const kind = judgeBreak(error, answered);
    if (gainedBytes >= PROGRESS_BYTES || this.#trouble.since === 0)
      this.#trouble = { since: now, fruitless: 0, waits: 0 };
    const isFruitless = kind === "cut" && gainedBytes < PROGRESS_BYTES;
    const { since } = this.#trouble;
    const fruitless = this.#trouble.fruitless + (isFruitless ? 1 : 0);
    const waits = kind === "cut" ? 0 : this.#trouble.waits + 1;
    this.#trouble = { since, fruitless, waits };
    const sinceMs = Math.max(0, now - since);
    // Whoever goes on from a byte was promised the rest.
    const receivedBytes = Math.max(this.#window.head, ...[...this.#readers].map(({ position }) => position));
    return planResumption({
      error,
      kind,
      receivedBytes,
      fruitless,
      waits,
      sinceMs,
      awaited: true,
      random: Math.random(),
    });
  }

  async #ask(): Promise<BlobBody> {
    const { route, digest } = this.#parts;
    const start = this.#window.head;
    const range = this.#stop < this.sizeBytes ? { start, end: this.#stop - 1 } : { start };
    const isWhole = start === 0 && this.#stop === this.sizeBytes;
    const { upstream } = route.source;
    const answer = await upstream.openBlob(route.repository, digest, isWhole ? undefined : range, this.#abort.signal);
    if (isAbsence(answer)) throw new Failure("unreachable", "the upstream no longer has the blob that it was sending");
    return answer;
  }

  #pour({ body, startByte, sizeBytes }: BlobBody): Promise<void> {
    const window = this.#window;
    let skip = window.head - startByte;
    if (skip < 0 || (sizeBytes !== undefined && sizeBytes !== this.sizeBytes)) {
      throw new Failure("corrupt", "the upstream speaks of another blob");
    }
    const waste = skip > 0 ? Buffer.allocUnsafe(SKIP_BYTES) : undefined;
    return new Promise<void>((resolve, reject) => {
      const over = (error: Error | undefined) => {
        if (error === undefined) resolve();
        else reject(isFailure(error) ? error : new Failure("unreachable", messageOf(error), { cause: error }));
      };
      this.#abort.signal.addEventListener("abort", () => reject(this.#abort.signal.reason), { once: true });
      const sink = {
        space: () =>
          skip > 0 && waste !== undefined ? waste.subarray(0, Math.min(skip, waste.length)) : window.space(),
        filled: (count: number) => {
          if (skip > 0) {
            skip -= count;
            return true;
          }
          window.filled(count);
          if (window.head > this.sizeBytes) throw new Failure("corrupt", "the upstream sent more than it announced");
          for (const reader of this.#readers) reader.feed(window, this.#limit);
          this.#moved();
          this.#paused = this.#isFull();
          if (window.head < this.#stop || this.#stop === this.sizeBytes) return !this.#paused;
          // It ignores where the slice ends.
          body.destroy();
          resolve();
          return false;
        },
      };
      body.pour(sink, over);
    });
  }

  #finish(): void {
    const { digest, route, notices } = this.#parts;
    const { head, hash } = this.#window;
    if (head < this.#stop) {
      throw new Failure("unreachable", `the upstream ended after ${head} of ${this.sizeBytes} bytes`);
    }
    if (hash !== undefined) {
      const found = finishDigest(algorithmOf(digest), hash.copy());
      if (found !== digest) {
        notices.emit("digestMismatch", { upstream: route.upstream, expected: digest, found });
        throw new Failure("corrupt", `the upstream sent other content: ${found}`);
      }
      this.#verified = true;
    }
    // Slow readers have what is left in the window.
    this.#cancelPatience?.();
    for (const reader of this.#readers) reader.feed(this.#window, this.#limit);
    this.#moved();
  }

  #fail(error: Error): void {
    if (this.#over) return;
    const readers = [...this.#readers];
    this.#end();
    for (const reader of readers) reader.destroy(error);
  }

  #isFull(): boolean {
    return this.#window.head - this.#tail() >= this.#parts.windowBytes();
  }

  /** Where the slowest reader is. */
  #tail(): number {
    let tail = this.#window.head;
    for (const { position } of this.#readers) tail = Math.min(tail, position);
    return tail;
  }

  /** Readers have gone on, or away. */
  #moved(): void {
    if (this.#over) return;
    if (this.#readers.size === 0) {
      this.#end();
      return;
    }
    this.#window.trim(this.#tail());
    const full = this.#isFull();
    this.#judgePace(full);
    if (full || !this.#paused) return;
    this.#paused = false;
    // Not from within what it is called by: it may bring the next bytes at once.
    setImmediate(() => {
      if (!this.#paused) this.#arrival?.body.resume();
    });
  }

  #judgePace(full: boolean): void {
    const { clock, windowBytes } = this.#parts;
    if (this.#verified) return;
    if (!full) {
      if (this.#window.head - this.#tail() < windowBytes() / 2) this.#endPatience();
      return;
    }
    if (this.#cancelPatience !== undefined || this.#readers.size < 2) return;
    const { head } = this.#window;
    for (const { wanting, position } of this.#readers) {
      if (!wanting || position < Math.min(head, this.#limit)) continue;
      this.#cancelPatience = clock.after(SLOW_MS, () => this.#letGo());
      return;
    }
  }

  #endPatience(): void {
    this.#cancelPatience?.();
    this.#cancelPatience = undefined;
  }

  /** Those who keep the others waiting go on by themselves. */
  #letGo(): void {
    this.#cancelPatience = undefined;
    if (this.#over || !this.#isFull()) return;
    const behind = this.#tail() + this.#parts.windowBytes() / 2;
    const slow = [...this.#readers].filter(({ position }) => position < behind);
    if (slow.length === this.#readers.size) return;
    const states = slow.map(({ position }) => this.#window.stateAt(position));
    for (const reader of slow) {
      reader.relay = undefined;
      this.#readers.delete(reader);
    }
    // What they stood on goes first: they must not find this body again.
    this.#moved();
    for (const [index, reader] of slow.entries()) {
      const state = states[index];
      if (state === undefined) reader.destroy(new Failure("unreachable", "the client reads too slowly"));
      else this.#parts.slow(reader, state);
    }
  }

  #end(): void {
    if (this.#over) return;
    this.#over = true;
    this.#endPatience();
    this.#readers.clear();
    this.#abort.abort(new Failure("unreachable", "nobody reads this blob any more"));
    this.#drop();
    this.#parts.over(this);
  }
}
