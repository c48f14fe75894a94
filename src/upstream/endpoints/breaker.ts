/**
 * A circuit breaker with half-open probes, of an endpoint or of one repository there.
 *
 *   closed ── failures in a row ──► open ── its time is over ──► half open: one question ── answered ──► closed
 *     └── silent for 2 s ──► slow: refreshes are refused as if open, misses go through    └─ failed ─► open, for longer
 *
 * The invariant: its times are spans from a moment of its own, so that a clock that is set back ends them at once and never
 * prolongs them; what came before what is counted and not read from the clock.
 */
import type { Clock } from "../../base/clock.ts";
import type { Failure } from "../../base/failure.ts";
import type { Urgency } from "../urgency.ts";

export type CircuitState = "closed" | "slow" | "open";

/** Failures in a row, no answer between them, that open it. */
const FAILURES = 3;
export const FIRST_OPEN_MS = 500;
const MAX_OPEN_MS = 30_000;
/** When to come again while somebody else's question is the probe. */
const PROBE_MS = 500;
/** Clocks are adjusted by this much without anything being wrong. */
const SLEW_MS = 1000;

export class Breaker {
  readonly #clock: Clock;
  readonly #random: () => number;
  readonly #changed: (state: CircuitState) => void;
  #state: CircuitState = "closed";
  #failures = 0;
  #openMs = 0;
  #opened = { at: 0, forMs: 0 };
  #probing = false;
  #answers = 0;
  #trouble: Failure | undefined;

  constructor(clock: Clock, changed: (state: CircuitState) => void = () => {}, random: () => number = Math.random) {
    this.#clock = clock;
    this.#changed = changed;
    this.#random = random;
  }

  get state(): CircuitState {
    return this.#state;
  }

  /** How it failed last, since its last answer. */
  get trouble(): Failure | undefined {
    return this.#trouble;
  }

  /** How many answers there were: a question that knows the number it began with knows of those meanwhile. */
  get answers(): number {
    return this.#answers;
  }

  /**
   * 0 where it may be asked now, else the milliseconds until that may be.
   * @param mostMs for whom its time is over sooner.
   */
  waitMs(urgency: Urgency, mostMs = Number.POSITIVE_INFINITY): number {
    if (this.#state === "closed" || (this.#state === "slow" && urgency === "miss")) return 0;
    const forMs = Math.min(this.#opened.forMs, mostMs);
    const leftMs = this.#opened.at + forMs - this.#clock.now();
    if (leftMs > 0 && leftMs <= forMs + SLEW_MS) return leftMs;
    return this.#probing ? PROBE_MS : 0;
  }

  /** Makes whoever calls it the probe, where one is due. */
  probe(): boolean {
    if (this.#state === "closed" || this.#probing) return false;
    this.#probing = true;
    return true;
  }

  endProbe(): void {
    this.#probing = false;
  }

  answered(): void {
    this.#answers += 1;
    this.#failures = 0;
    this.#openMs = 0;
    this.#trouble = undefined;
    this.#become("closed");
  }

  /**
   * @param probe it was the probe that failed.
   * @param enough false where this many failures say nothing yet: they are remembered, and the next may.
   */
  failed(trouble: Failure | undefined, probe: boolean, enough = true): void {
    this.#failures += 1;
    this.#trouble = trouble;
    if (probe || (this.#state !== "open" && enough && this.#failures >= FAILURES)) this.#open("open");
  }

  silent(): void {
    if (this.#state === "closed") this.#open("slow");
  }

  #open(state: "slow" | "open"): void {
    this.#openMs = Math.min(Math.max(this.#openMs * 2, FIRST_OPEN_MS), MAX_OPEN_MS);
    // Many mirrors of one upstream should not come back to it in step.
    this.#opened = { at: this.#clock.now(), forMs: this.#openMs * (0.8 + 0.4 * this.#random()) };
    this.#become(state);
  }

  #become(state: CircuitState): void {
    if (state === this.#state) return;
    this.#state = state;
    this.#changed(state);
  }
}
