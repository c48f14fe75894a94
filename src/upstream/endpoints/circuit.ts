/**
 * Whether an endpoint is worth asking now: a circuit breaker with half-open probes.
 *
 *   closed ── failures in a row ──► open ── its time is over ──► half open: one question ── answered ──► closed
 *     └── silent for 2 s ──► slow: refreshes are refused as if open, misses go through    └─ failed ─► open, for longer
 *
 * Any answer of the endpoint, to whomever, closes it. Nothing here waits; who is refused learns when to come again.
 */
import type { Clock } from "../../base/clock.ts";
import type { Failure } from "../../base/failure.ts";
import { leftOf, OVER, type Span, spanOf } from "../../base/span.ts";
import type { Urgency } from "../urgency.ts";

export type CircuitState = "closed" | "slow" | "open";

/** Failures in a row, no answer between them, that open it. */
const FAILURES = 3;
/** An endpoint that is silent for so long, and has answered nobody meanwhile, keeps no refresh waiting. */
export const SILENCE_MS = 2000;
const FIRST_OPEN_MS = 500;
const MAX_OPEN_MS = 30_000;
/** When to come again while somebody else's question is the probe. */
const PROBE_MS = 500;

/** One question that is being asked; exactly one of its methods is called, once. */
export interface Attempt {
  /** It answered, whatever it said. */
  answered(): void;
  /** It did not, or said that it cannot serve anybody now. */
  failed(trouble?: Failure): void;
  /** We left: that says nothing of it. */
  left(): void;
}

export class Circuit {
  readonly #clock: Clock;
  readonly #random: () => number;
  readonly #changed: (state: CircuitState) => void;
  #state: CircuitState = "closed";
  #failures = 0;
  #openMs = 0;
  #rest: Span = OVER;
  #probing = false;
  /** Counted, not dated: by a clock that was set back an answer would be later than all that comes. */
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

  /** 0 where it may be asked now, else the milliseconds until that may be. */
  waitMs(urgency: Urgency): number {
    if (this.#state === "closed" || (this.#state === "slow" && urgency === "miss")) return 0;
    const leftMs = leftOf(this.#rest, this.#clock.now());
    if (leftMs > 0) return leftMs;
    return this.#probing ? PROBE_MS : 0;
  }

  /** Call where `waitMs` is 0. */
  begin(): Attempt {
    const before = this.#answers;
    const probe = this.#state !== "closed" && !this.#probing;
    if (probe) this.#probing = true;
    const stopListening = this.#clock.after(SILENCE_MS, () => {
      if (this.#answers === before && this.#state === "closed") this.#open("slow");
    });
    let over = false;
    const end = () => {
      if (over) return false;
      over = true;
      stopListening();
      if (probe) this.#probing = false;
      return true;
    };
    return {
      answered: () => {
        if (end()) this.#answered();
      },
      failed: (trouble) => {
        if (end()) this.#failed(before, probe, trouble);
      },
      left: () => void end(),
    };
  }

  #answered(): void {
    this.#answers += 1;
    this.#failures = 0;
    this.#openMs = 0;
    this.#trouble = undefined;
    this.#become("closed");
  }

  #failed(before: number, probe: boolean, trouble: Failure | undefined): void {
    // Somebody else was answered meanwhile: it is not the endpoint that is down.
    if (this.#answers > before) return;
    this.#failures += 1;
    this.#trouble = trouble;
    if (probe || (this.#state !== "open" && this.#failures >= FAILURES)) this.#open("open");
  }

  #open(state: "slow" | "open"): void {
    this.#openMs = Math.min(Math.max(this.#openMs * 2, FIRST_OPEN_MS), MAX_OPEN_MS);
    // Many mirrors of one upstream should not come back to it in step.
    this.#rest = spanOf(this.#clock.now(), this.#openMs * (0.8 + 0.4 * this.#random()));
    this.#become(state);
  }

  #become(state: CircuitState): void {
    if (state === this.#state) return;
    this.#state = state;
    this.#changed(state);
  }
}
