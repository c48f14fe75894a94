/**
 * Reads stored files in a thread and says what is in them. The thread is there while there is something to read, and a
 * while longer.
 */
import { Worker } from "node:worker_threads";
import type { Clock } from "../base/clock.ts";
import { Failure, messageOf } from "../base/failure.ts";
import { algorithmOf, type Digest } from "../oci/digest.ts";
import type { ScrubPace } from "./scrub-pace.ts";
import type { Finding, Order, Report } from "./verify-thread.ts";

const THREAD = new URL(`./verify-thread.${import.meta.url.endsWith(".ts") ? "ts" : "js"}`, import.meta.url);
const IDLE_MS = 10_000;

export interface Reading {
  readonly pace: ScrubPace;
  readonly signal: AbortSignal;
  /** Called with the bytes of each piece. */
  readonly onRead?: (bytes: number) => void;
}

export class Verifier {
  readonly #clock: Clock;
  #thread: Thread | undefined;
  #reading = 0;
  #cancelIdle = () => {};
  #stopped = false;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /**
   * Reads a file to its end.
   * @throws the signal's reason; Failure `storage` where the thread has died.
   */
  async look(path: string, digest: Digest, { pace, signal, onRead }: Reading): Promise<Finding> {
    signal.throwIfAborted();
    const thread = this.#enter();
    const file = thread.open(path, digest);
    try {
      for (;;) {
        const { readBytes, finding } = await file.next(pace.pieceBytes, signal);
        onRead?.(readBytes);
        // Whatever came of it, it was read.
        await pace.spend(readBytes, finding !== undefined, signal);
        if (finding !== undefined) return finding;
      }
    } finally {
      file.drop();
      this.#leave();
    }
  }

  /** Ends the thread; what is being read fails. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#cancelIdle();
    await this.#thread?.end();
  }

  #enter(): Thread {
    if (this.#stopped) throw new Failure("storage", "the store is closed");
    this.#cancelIdle();
    if (this.#thread === undefined || this.#thread.over) this.#thread = new Thread();
    this.#reading += 1;
    this.#thread.hold(true);
    return this.#thread;
  }

  #leave(): void {
    this.#reading -= 1;
    if (this.#reading > 0 || this.#stopped) return;
    this.#thread?.hold(false);
    this.#cancelIdle = this.#clock.after(IDLE_MS, () => {
      void this.#thread?.end();
      this.#thread = undefined;
    });
  }
}

/** One life of the thread. */
class Thread {
  readonly #worker = new Worker(THREAD, { name: "verify" });
  readonly #exited = Promise.withResolvers<void>();
  readonly #waiting = new Map<number, PromiseWithResolvers<Report>>();
  #serial = 0;
  #reason = "it ended";
  over = false;

  constructor() {
    this.#worker.unref();
    this.#worker.on("message", (report: Report) => {
      this.#waiting.get(report.id)?.resolve(report);
      this.#waiting.delete(report.id);
    });
    this.#worker.on("error", (error) => {
      this.over = true;
      this.#reason = messageOf(error);
    });
    this.#worker.on("exit", () => {
      this.over = true;
      const failure = new Failure("storage", `the thread that reads the cache directory has died: ${this.#reason}`);
      for (const waiting of this.#waiting.values()) waiting.reject(failure);
      this.#waiting.clear();
      this.#exited.resolve();
    });
  }

  /** Whether the process stays for it. */
  hold(held: boolean): void {
    if (held) this.#worker.ref();
    else this.#worker.unref();
  }

  open(path: string, digest: Digest) {
    this.#serial += 1;
    const id = this.#serial;
    let isOpen = false;
    let isOver = false;
    const order = (limitBytes: number): Order =>
      isOpen ? { do: "read", id, limitBytes } : { do: "open", id, path, algorithm: algorithmOf(digest), limitBytes };
    return {
      next: async (limitBytes: number, signal: AbortSignal): Promise<Report> => {
        const report = await this.#ask(id, order(limitBytes), signal);
        isOpen = true;
        isOver = report.finding !== undefined;
        return report;
      },
      drop: () => {
        this.#waiting.delete(id);
        // An order that nobody waits for any more may have opened it.
        if (!this.over && !isOver) this.#post({ do: "drop", id });
      },
    };
  }

  async end(): Promise<void> {
    this.#reason = "the store is closed";
    void this.#worker.terminate();
    await this.#exited.promise;
  }

  async #ask(id: number, order: Order, signal: AbortSignal): Promise<Report> {
    if (this.over) throw new Failure("storage", `the thread that reads the cache directory has died: ${this.#reason}`);
    const waiting = Promise.withResolvers<Report>();
    const onAbort = () => waiting.reject(signal.reason);
    signal.addEventListener("abort", onAbort, { once: true });
    this.#waiting.set(id, waiting);
    this.#post(order);
    try {
      return await waiting.promise;
    } finally {
      signal.removeEventListener("abort", onAbort);
    }
  }

  #post(order: Order): void {
    this.#worker.postMessage(order);
  }
}
