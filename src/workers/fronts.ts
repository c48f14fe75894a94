/**
 * All front processes: as many as were asked for, each replaced when it dies, and none left when this has stopped.
 *
 * One that dies again and again is replaced after longer and longer pauses. What the dead have counted is kept.
 */
import { systemClock } from "../base/clock.ts";
import { Failure, messageOf } from "../base/failure.ts";
import type { Emitter } from "../base/notices.ts";
import type { MirrorNotices } from "../mirror/notices.ts";
import type { BoundPort } from "./boundport.ts";
import type { OriginSide } from "./door.ts";
import { Front } from "./front.ts";
import type { Beginning, FrontPosts, MetricValues } from "./messages.ts";

const FIRST_PAUSE_MS = 100;
const LONGEST_PAUSE_MS = 10_000;
/** A front that lived so long did not die of how it was started. */
const HEALTHY_AFTER_MS = 30_000;
const COUNTS_PATIENCE_MS = 1000;
/** How much longer than the grace period a front may take to end. */
const BURIAL_MS = 2000;

export interface FrontsParts {
  readonly count: number;
  /** What runs in each of them. */
  readonly program: URL;
  readonly side: OriginSide;
  readonly notices: Emitter<MirrorNotices>;
  /** Facts of fronts, of the kinds that were asked for with `relay`. */
  readonly relayed: Emitter<MirrorNotices>;
  begin(): Beginning;
  /** Adds what a dead front has counted to what is kept of the dead. */
  bury(counts: MetricValues): void;
}

export class Fronts {
  readonly #parts: FrontsParts;
  readonly #fronts = new Set<Front>();
  #port: BoundPort | undefined;
  #deaths = 0;
  #lastDeathAt = Number.NEGATIVE_INFINITY;
  readonly #pending = new Set<() => void>();
  #stopped = false;
  #ready = false;

  constructor(parts: FrontsParts) {
    this.#parts = parts;
  }

  /** True while each of them answers clients. */
  get complete(): boolean {
    return this.up === this.#parts.count;
  }

  get up(): number {
    return [...this.#fronts].filter((front) => front.up).length;
  }

  /** Resolves when all of them answer clients. Takes over the port. @throws what keeps one of them from it. */
  async start(port: BoundPort): Promise<void> {
    if (this.#stopped) {
      port.close();
      throw new Failure("overloaded", "the mirror is shutting down");
    }
    this.#port = port;
    const { count } = this.#parts;
    await Promise.all(Array.from({ length: count }, () => this.#open(port).listening));
    this.#ready = true;
    while (!this.#stopped && this.#fronts.size + this.#pending.size < count) {
      this.#replace("it ended while others were starting");
    }
  }

  tell<K extends keyof FrontPosts & string>(what: K, value: FrontPosts[K]): void {
    for (const front of this.#fronts) front.channel.post(what, value);
  }

  /** What those that live counted when they were last asked. What others have counted has been buried. */
  get counts(): MetricValues[] {
    return [...this.#fronts].map((front) => front.counts);
  }

  /** Asks all for their counts, and waits a while for the answers. */
  async recount(): Promise<void> {
    const late = Promise.withResolvers<undefined>();
    const timer = setTimeout(() => late.resolve(undefined), COUNTS_PATIENCE_MS);
    const asking = [...this.#fronts].map(async (front) => {
      const asked = front.channel.ask("counts", undefined).catch(() => undefined);
      const answer = front.up ? await Promise.race([asked, late.promise]) : undefined;
      if (answer !== undefined) front.counts = answer;
    });
    await Promise.all(asking);
    clearTimeout(timer);
  }

  /** Lets their running answers end, for at most `graceMs`. None of them is left when this resolves. */
  async stop(graceMs: number): Promise<void> {
    this.#stopped = true;
    for (const cancel of this.#pending) cancel();
    this.#pending.clear();
    this.#port?.close();
    this.tell("stop", { graceMs });
    const timer = setTimeout(() => this.#kill(), Math.min(graceMs + BURIAL_MS, 2 ** 31 - 1));
    await Promise.all([...this.#fronts].map((front) => front.ended));
    clearTimeout(timer);
  }

  #kill(): void {
    for (const front of this.#fronts) front.kill();
  }

  #open(port: BoundPort): Front {
    const { program, side, relayed } = this.#parts;
    const front = new Front(program, side, this.#parts.begin(), port.handle, {
      notice: (kind, fact) => relayed.emit(kind, fact),
      ended: (ended, how) => this.#ended(ended, how),
    });
    this.#fronts.add(front);
    return front;
  }

  #ended(front: Front, how: string): void {
    this.#fronts.delete(front);
    this.#parts.bury(front.counts);
    if (!this.#stopped && this.#ready) this.#replace(how);
  }

  #replace(how: string): void {
    const now = performance.now();
    this.#deaths = now - this.#lastDeathAt > HEALTHY_AFTER_MS ? 1 : this.#deaths + 1;
    this.#lastDeathAt = now;
    const pauseMs = Math.min(FIRST_PAUSE_MS * 2 ** (this.#deaths - 1), LONGEST_PAUSE_MS);
    this.#parts.notices.emit("workerEnded", { how, replacedInMs: pauseMs });
    const cancel = systemClock.after(pauseMs, () => {
      this.#pending.delete(cancel);
      if (this.#stopped || this.#port === undefined) return;
      try {
        this.#open(this.#port);
      } catch (cause) {
        this.#replace(`it could not be started: ${messageOf(cause)}`);
      }
    });
    this.#pending.add(cancel);
  }
}
