/**
 * Keeps warming out of the way of clients: few blobs at a time of each upstream, over all runs together, and none begun
 * while a client's fill runs there, for a while.
 */
import { type Clock, pause } from "../base/clock.ts";
import type { Notices } from "../base/notices.ts";
import type { MirrorNotices } from "../mirror/notices.ts";
import type { Source } from "../mirror/route.ts";
import { Slots } from "../upstream/limits/slots.ts";

const BLOBS_AT_ONCE = 4;
/** Where clients never cease to come, a blob is begun so often all the same. */
const YIELD_MS = 10_000;

export class WarmPace {
  readonly #clock: Clock;
  readonly #slots = new Map<string, Slots>();
  readonly #ours = new Set<string>();
  /** Running fills that clients began, by upstream. */
  readonly #clients = new Map<string, Set<string>>();
  readonly #ends: readonly (() => void)[];
  #waiting: { readonly upstream: string; readonly resume: AbortController }[] = [];

  constructor(clock: Clock, notices: Notices<MirrorNotices>) {
    this.#clock = clock;
    this.#ends = [
      notices.on("fillStarted", ({ upstream, digest }) => {
        if (this.#ours.has(digest)) return;
        const running = this.#clients.get(upstream) ?? new Set();
        this.#clients.set(upstream, running.add(digest));
      }),
      notices.on("fillEnded", ({ upstream, digest }) => {
        const running = this.#clients.get(upstream);
        if (running?.delete(digest) !== true || running.size > 0) return;
        for (const one of this.#waiting) if (one.upstream === upstream) one.resume.abort();
      }),
    ];
  }

  /**
   * Resolves when the blob may be begun.
   * @returns gives the turn back, when it is here.
   */
  async turn(source: Source, digest: string, signal: AbortSignal): Promise<() => void> {
    const slots = this.#slots.get(source.name) ?? new Slots(Math.min(BLOBS_AT_ONCE, source.maxPasses));
    this.#slots.set(source.name, slots);
    const release = await slots.take(signal);
    try {
      await this.#yield(source.name, digest, signal);
    } catch (error) {
      release();
      throw error;
    }
    this.#ours.add(digest);
    return () => {
      this.#ours.delete(digest);
      release();
    };
  }

  stop(): void {
    for (const end of this.#ends) end();
  }

  /** What a client has begun already is joined at once. */
  async #yield(upstream: string, digest: string, signal: AbortSignal): Promise<void> {
    const running = this.#clients.get(upstream);
    if (running === undefined || running.size === 0 || running.has(digest)) return;
    const one = { upstream, resume: new AbortController() };
    this.#waiting.push(one);
    try {
      await pause(this.#clock, YIELD_MS, AbortSignal.any([signal, one.resume.signal]));
    } catch (error) {
      if (!one.resume.signal.aborted || signal.aborted) throw error;
    } finally {
      this.#waiting = this.#waiting.filter((other) => other !== one);
    }
  }
}
