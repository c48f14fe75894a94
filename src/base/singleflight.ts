/**
 * One running piece of work per key: whoever asks while it runs gets the same outcome, success or failure.
 *
 * The work belongs to nobody who waits: a waiter that leaves (its signal aborts) leaves alone. A key is forgotten as
 * soon as its work ends; nothing is cached here.
 */

export interface Flight<T> {
  readonly outcome: Promise<T>;
  /** True where the work was already running when this caller came. */
  readonly joined: boolean;
}

export class Singleflight<T> {
  readonly #running = new Map<string, Promise<T>>();

  /** Starts `work` for `key`, or joins the one that runs. */
  run(key: string, work: () => Promise<T>): Flight<T> {
    const running = this.#running.get(key);
    if (running !== undefined) return { outcome: running, joined: true };
    // `async` so that a synchronous throw becomes this flight's outcome too.
    const outcome = (async () => work())().finally(() => {
      this.#running.delete(key);
    });
    // Every waiter may have left before a failure comes; that is no unhandled rejection.
    outcome.catch(() => {});
    this.#running.set(key, outcome);
    return { outcome, joined: false };
  }

  /** How many keys have work running. */
  get size(): number {
    return this.#running.size;
  }

  /** Resolves when everything that runs now has ended, whatever its outcome. */
  async settled(): Promise<void> {
    await Promise.allSettled(this.#running.values());
  }
}

/** Waits for `promise`, or rejects with the signal's reason as soon as that aborts; the promise goes on. */
export function unlessAborted<T>(promise: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return promise;
  if (signal.aborted) {
    // Nobody here will learn how it ends: a failure of it is no unhandled rejection.
    promise.catch(() => {});
    return Promise.reject(signal.reason);
  }
  return new Promise((resolve, reject) => {
    const onAbort = () => reject(signal.reason);
    signal.addEventListener("abort", onAbort, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener("abort", onAbort));
  });
}
