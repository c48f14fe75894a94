/**
 * Whether an endpoint is worth asking now, for a repository: a breaker of the endpoint, and one for each repository that it
 * answers with a status of trouble.
 *
 * Any answer of the endpoint, to whomever, closes its breaker. No answer speaks for the endpoint; 502, 503 and 504 speak for
 * the repository that was asked for, and for the endpoint only when two repositories in a row had them: one broken
 * repository must not take the others with it. Nothing here waits; who is refused learns when to come again.
 */
import { LRUCache } from "lru-cache";
import type { Clock } from "../../base/clock.ts";
import type { Failure } from "../../base/failure.ts";
import type { Urgency } from "../urgency.ts";
import { Breaker, type CircuitState, FIRST_OPEN_MS } from "./breaker.ts";

export type { CircuitState } from "./breaker.ts";

/** An endpoint that is silent for so long, and has answered nobody meanwhile, keeps no refresh waiting. */
export const SILENCE_MS = 2000;
const MAX_REPOSITORIES = 256;

/** One question to an endpoint, of one or more requests; to be ended. */
export interface Trial {
  /** A request is on its way there; one of the next two follows, or the end. */
  asked(): void;
  /** It answered, whatever it said. */
  answered(): void;
  /** It did not, or said that it cannot serve now; a time that ran out on a request that had little of it is not counted. */
  failed(trouble?: Failure): void;
  /** We leave: what was not told by then says nothing of it. */
  end(): void;
}

export class Circuit {
  readonly #clock: Clock;
  readonly #random: () => number;
  readonly #whole: Breaker;
  readonly #ofRepository = new LRUCache<string, Breaker>({ max: MAX_REPOSITORIES });
  /** Had a status of trouble since the last answer to anybody. */
  readonly #failing = new Set<string>();
  /** Somebody had no answer at all since the last one. */
  #isSilent = false;

  constructor(clock: Clock, changed: (state: CircuitState) => void = () => {}, random: () => number = Math.random) {
    this.#clock = clock;
    this.#random = random;
    this.#whole = new Breaker(clock, changed, random);
  }

  get state(): CircuitState {
    return this.#whole.state;
  }

  /** How it failed last for the repository, since its last answer. */
  troubleFor(repository: string): Failure | undefined {
    const own = this.#ofRepository.peek(repository);
    return own !== undefined && own.state !== "closed" ? own.trouble : this.#whole.trouble;
  }

  /** 0 where it may be asked now, else the milliseconds until that may be. */
  waitMs(urgency: Urgency, repository: string): number {
    const own = this.#ofRepository.peek(repository)?.waitMs(urgency) ?? 0;
    // Where it answers, a repository that has not failed yet is the better probe, and need not wait as long.
    const isStranger = !this.#isSilent && urgency === "miss" && !this.#failing.has(repository);
    return Math.max(own, this.#whole.waitMs(urgency, isStranger ? FIRST_OPEN_MS : undefined));
  }

  /** Call where `waitMs` is 0. */
  begin(repository: string): Trial {
    const own = this.#ofRepository.get(repository);
    let isProbe = this.#whole.probe();
    let isOwnProbe = own?.probe() === true;
    let request: { readonly at: number; readonly answers: number; readonly stop: () => void } | undefined;
    const release = () => {
      request?.stop();
      request = undefined;
      if (isProbe) this.#whole.endProbe();
      if (isOwnProbe) own?.endProbe();
      isProbe = false;
      isOwnProbe = false;
    };
    return {
      asked: () => {
        request?.stop();
        const { answers } = this.#whole;
        const stop = this.#clock.after(SILENCE_MS, () => {
          if (this.#whole.answers === answers) this.#whole.silent();
        });
        request = { at: this.#clock.now(), answers, stop };
      },
      answered: () => {
        if (request === undefined) return;
        release();
        this.#answered(repository);
      },
      failed: (trouble) => {
        if (request === undefined) return;
        const { at, answers } = request;
        const probes = { isProbe, isOwnProbe };
        release();
        const hurried = trouble?.timedOut === true && this.#isOurTime(trouble) && this.#clock.now() - at < SILENCE_MS;
        if (!hurried) this.#failed(repository, trouble, answers, probes);
      },
      end: release,
    };
  }

  /** Of our own time for the whole question, not of a connection's. */
  #isOurTime(trouble: Failure): boolean {
    return trouble.cause === undefined;
  }

  #answered(repository: string): void {
    this.#isSilent = false;
    this.#failing.clear();
    this.#ofRepository.delete(repository);
    this.#whole.answered();
  }

  #failed(
    repository: string,
    trouble: Failure | undefined,
    answersBefore: number,
    { isProbe, isOwnProbe }: { readonly isProbe: boolean; readonly isOwnProbe: boolean },
  ): void {
    const hasStatus = trouble?.upstreamStatus !== undefined;
    if (hasStatus) {
      const own = this.#ofRepository.get(repository) ?? new Breaker(this.#clock, () => {}, this.#random);
      this.#ofRepository.set(repository, own);
      own.failed(trouble, isOwnProbe);
    }
    // Somebody else was answered meanwhile: it is not the endpoint that is down.
    if (this.#whole.answers > answersBefore) return;
    if (!hasStatus) this.#isSilent = true;
    else if (this.#failing.size < MAX_REPOSITORIES) this.#failing.add(repository);
    this.#whole.failed(trouble, isProbe, this.#isSilent || this.#failing.size > 1);
  }
}
