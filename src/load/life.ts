/**
 * Everything that ends when a run ends: requests under way, waits, the ticking. One timer looks after all requests,
 * so that thousands of them cost nothing while they wait.
 *
 * Its timer keeps the process alive until `stop()`; after that nothing new begins.
 */
import { Stopped } from "./mishap.ts";

export interface Watched {
  /** On the monotonic clock; Infinity while it is us who hold the request up. */
  dueAt: number;
  /** The wait has run out, or the run has ended (`Stopped`). */
  end(reason: Error | undefined): void;
}

export class Life {
  readonly #watched = new Set<Watched>();
  readonly #waits = new Set<{ readonly timer: NodeJS.Timeout; readonly reject: (reason: Error) => void }>();
  readonly #timer: NodeJS.Timeout;
  readonly #lookEveryMs: number;
  #lookedAt = performance.now();
  #stopped = false;

  constructor(lookEveryMs: number) {
    this.#lookEveryMs = lookEveryMs;
    this.#timer = setInterval(() => this.#look(), lookEveryMs);
  }

  get stopped(): boolean {
    return this.#stopped;
  }

  /** @throws Stopped */
  watch(watched: Watched): void {
    this.check();
    this.#watched.add(watched);
  }

  unwatch(watched: Watched): void {
    this.#watched.delete(watched);
  }

  /** @throws Stopped */
  check(): void {
    if (this.#stopped) throw new Stopped();
  }

  /** Rejects with `Stopped` as soon as the run ends. */
  wait(ms: number): Promise<void> {
    if (this.#stopped) return Promise.reject(new Stopped());
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#waits.delete(wait);
        resolve();
      }, ms);
      const wait = { timer, reject };
      this.#waits.add(wait);
    });
  }

  stop(): void {
    if (this.#stopped) return;
    this.#stopped = true;
    clearInterval(this.#timer);
    for (const { timer, reject } of this.#waits) {
      clearTimeout(timer);
      reject(new Stopped());
    }
    this.#waits.clear();
    for (const watched of [...this.#watched]) watched.end(new Stopped());
    this.#watched.clear();
  }

  #look(): void {
    const now = performance.now();
    // Time in which this process did not get to read is not held against the server.
    const late = Math.max(0, now - this.#lookedAt - 2 * this.#lookEveryMs);
    this.#lookedAt = now;
    for (const watched of [...this.#watched]) {
      watched.dueAt += late;
      if (watched.dueAt <= now) watched.end(undefined);
    }
  }
}
