/**
 * A limit on what runs at once. Who waits for a slot waits by its own signal, not by a timeout of the network: a blob
 * that queues behind others is slow, not unreachable.
 */
export class Slots {
  #free: number;
  readonly #waiting = new Set<() => void>();

  constructor(count: number) {
    this.#free = count;
  }

  /** @returns the function that gives the slot back; calling it again does nothing. Rejects with the signal's reason. */
  async take(signal: AbortSignal): Promise<() => void> {
    signal.throwIfAborted();
    if (this.#free > 0) this.#free--;
    else await this.#wait(signal);
    let held = true;
    return () => {
      if (!held) return;
      held = false;
      this.#giveBack();
    };
  }

  #giveBack(): void {
    const next = this.#waiting.values().next().value;
    if (next === undefined) this.#free++;
    else next();
  }

  #wait(signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const onAbort = () => {
        this.#waiting.delete(proceed);
        reject(signal.reason);
      };
      const proceed = () => {
        this.#waiting.delete(proceed);
        signal.removeEventListener("abort", onAbort);
        resolve();
      };
      this.#waiting.add(proceed);
      signal.addEventListener("abort", onAbort, { once: true });
    });
  }
}
