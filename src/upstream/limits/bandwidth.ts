/**
 * Our own limit on an upstream's bytes per second, shared among all bodies that come from it: a token bucket, paid out in
 * quanta, to each running body in turn.
 *
 * The invariants: no body is handed a byte that was not paid for; every other quantum goes to those that have just begun,
 * so that documents do not queue behind blobs; one whose receiver makes it wait, waits for nothing and holds less than a
 * quantum. A timer runs only while somebody waits for bytes.
 */
import type { Clock } from "../../base/clock.ts";
import type { Flow, Sink } from "../../base/flow.ts";

const MIN_QUANTUM_BYTES = 1024;
const MAX_QUANTUM_BYTES = 256 * 1024;
/** Quanta in a second, where that makes them neither tiny nor huge. */
const QUANTA_PER_SECOND = 50;
/** How much may be paid out at once after a pause of all: timers come late on a busy machine, and must not cost speed. */
const BURST_MS = 200;

export class Bandwidth {
  readonly #clock: Clock;
  readonly #bytesPerMs: number;
  readonly #quantum: number;
  readonly #burst: number;
  /** Those that have had nothing yet. */
  readonly #fresh = new Set<LimitedFlow>();
  readonly #waiting = new Set<LimitedFlow>();
  #freshNext = true;
  #bytes: number;
  #countedAt: number;
  #cancel: (() => void) | undefined;
  #shut = false;

  constructor(bytesPerSecond: number, clock: Clock) {
    this.#clock = clock;
    this.#bytesPerMs = bytesPerSecond / 1000;
    const share = Math.floor(bytesPerSecond / QUANTA_PER_SECOND);
    this.#quantum = Math.min(MAX_QUANTUM_BYTES, Math.max(MIN_QUANTUM_BYTES, share));
    this.#burst = Math.max(this.#quantum, this.#bytesPerMs * BURST_MS);
    this.#bytes = this.#quantum;
    this.#countedAt = clock.now();
  }

  /** How many wait for bytes. */
  get waiting(): number {
    return this.#fresh.size + this.#waiting.size;
  }

  /** The same body, no faster than its share. */
  limit(source: Flow): Flow {
    return new LimitedFlow(source, {
      ask: (flow, isFresh) => this.#ask(flow, isFresh),
      giveBack: (flow, bytes) => {
        this.#fresh.delete(flow);
        this.#waiting.delete(flow);
        this.#bytes = Math.min(this.#burst, this.#bytes + bytes);
        if (this.waiting === 0) this.#rest();
      },
      now: () => this.#clock.now(),
    });
  }

  /** No limit any more: what waits goes on, and meets the end of its connection. */
  close(): void {
    this.#shut = true;
    this.#rest();
    for (let flow = this.#next(); flow !== undefined; flow = this.#next()) flow.grant(Number.POSITIVE_INFINITY);
  }

  /** At once where nobody else waits and there is enough; 0 where it will be granted later. */
  #ask(flow: LimitedFlow, isFresh: boolean): number {
    if (this.#shut) return Number.POSITIVE_INFINITY;
    this.#count();
    if (this.waiting === 0 && this.#bytes >= this.#quantum) {
      this.#bytes -= this.#quantum;
      return this.#quantum;
    }
    (isFresh ? this.#fresh : this.#waiting).add(flow);
    this.#schedule();
    return 0;
  }

  #count(): void {
    const now = this.#clock.now();
    // A clock that was set back brings nothing, and takes nothing.
    this.#bytes = Math.min(this.#burst, this.#bytes + Math.max(0, now - this.#countedAt) * this.#bytesPerMs);
    this.#countedAt = now;
  }

  #schedule(): void {
    if (this.#cancel !== undefined || this.waiting === 0) return;
    const delayMs = Math.max(1, Math.ceil((this.#quantum - this.#bytes) / this.#bytesPerMs));
    this.#cancel = this.#clock.after(delayMs, () => {
      this.#cancel = undefined;
      this.#payOut();
      this.#schedule();
    });
  }

  #payOut(): void {
    this.#count();
    while (this.#bytes >= this.#quantum) {
      const flow = this.#next();
      if (flow === undefined) return;
      this.#bytes -= this.#quantum;
      flow.grant(this.#quantum);
    }
  }

  /** Those that have just begun and the others in turn, each kind in its order. */
  #next(): LimitedFlow | undefined {
    const sets = this.#freshNext ? [this.#fresh, this.#waiting] : [this.#waiting, this.#fresh];
    for (const flows of sets) {
      for (const flow of flows) {
        flows.delete(flow);
        this.#freshNext = flows !== this.#fresh;
        return flow;
      }
    }
    return undefined;
  }

  #rest(): void {
    this.#cancel?.();
    this.#cancel = undefined;
  }
}

interface Till {
  /** @returns what was granted; 0 where `grant` will be called. */
  ask(flow: LimitedFlow, isFresh: boolean): number;
  /** It asks for nothing any more, and did not use so much of what it was granted. */
  giveBack(flow: LimitedFlow, bytes: number): void;
  now(): number;
}

class LimitedFlow implements Flow {
  readonly #source: Flow;
  readonly #till: Till;
  #sink: Sink | undefined;
  #done: ((error: Error | undefined) => void) | undefined;
  /** Bytes that it may still bring. */
  #credit = 0;
  #poured = false;
  /** Its receiver said no. */
  #held = false;
  #resumed = false;
  #over = false;
  /** Since when it waits to be granted something. */
  #waitsSince: number | undefined;
  #keptMs = 0;

  constructor(source: Flow, till: Till) {
    this.#source = source;
    this.#till = till;
  }

  pour(sink: Sink, done: (error: Error | undefined) => void): void {
    this.#sink = sink;
    this.#done = done;
    this.#ask(true);
    if (this.#credit > 0) this.#begin();
  }

  resume(): void {
    this.#resumed = true;
    if (!this.#held || this.#over) return;
    this.#held = false;
    if (this.#credit === 0) this.#ask(false);
    if (this.#credit > 0) this.#source.resume();
  }

  destroy(): void {
    this.#end();
    this.#source.destroy();
  }

  keptMs(): number {
    const since = this.#waitsSince;
    return this.#keptMs + (since === undefined ? 0 : Math.max(0, this.#till.now() - since));
  }

  /** What it waited for. */
  grant(bytes: number): void {
    this.#keptMs = this.keptMs();
    this.#waitsSince = undefined;
    this.#credit = bytes;
    if (this.#poured) this.#source.resume();
    else this.#begin();
  }

  #begin(): void {
    const sink = this.#sink;
    const done = this.#done;
    if (sink === undefined || done === undefined) return;
    this.#poured = true;
    const paid: Sink = {
      space: () => {
        const space = sink.space();
        return space.length > this.#credit ? space.subarray(0, this.#credit) : space;
      },
      filled: (count) => this.#filled(sink, count),
    };
    this.#source.pour(paid, (error) => {
      this.#end();
      done(error);
    });
  }

  #filled(sink: Sink, count: number): boolean {
    this.#credit -= count;
    this.#resumed = false;
    if (!sink.filled(count) && !this.#resumed) {
      this.#held = true;
      return false;
    }
    if (this.#over || this.#credit > 0) return true;
    this.#ask(false);
    return this.#credit > 0;
  }

  #ask(isFresh: boolean): void {
    this.#credit = this.#till.ask(this, isFresh);
    this.#waitsSince = this.#credit > 0 ? undefined : this.#till.now();
  }

  #end(): void {
    if (this.#over) return;
    this.#over = true;
    this.#sink = undefined;
    this.#till.giveBack(this, Number.isFinite(this.#credit) ? this.#credit : 0);
    this.#credit = 0;
  }
}
