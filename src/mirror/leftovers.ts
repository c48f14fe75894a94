/**
 * What an earlier life of the mirror left of fills that had not ended, looked at behind the start, which waits for none
 * of it: files that nobody knows of are removed, and what is nearly there is fetched to its end. The rest waits to be
 * asked for, as long as things are kept.
 */
import { type Clock, pause } from "../base/clock.ts";
import { isFailure } from "../base/failure.ts";
import type { Emitter } from "../base/notices.ts";
import type { KeptPartial } from "../meta/partials.ts";
import type { BlobStore } from "../store/blobstore.ts";
import { KEPT_FROM_BYTES, planKept } from "./fillpolicy.ts";
import type { Fills } from "./fills.ts";
import type { Keeping } from "./keeping.ts";
import type { MirrorNotices } from "./notices.ts";
import type { Route } from "./route.ts";

export interface LeftoversParts {
  readonly store: Pick<BlobStore, "partials" | "removePartial">;
  readonly keeping: Keeping;
  readonly fills: Pick<Fills, "resume">;
  /** Where it would be fetched from today; undefined where it may not be any more. */
  findRoute(partial: KeptPartial): Route | undefined;
  /** False where nobody is asked for anything. */
  readonly isOnline: boolean;
  readonly clock: Clock;
  readonly notices: Emitter<MirrorNotices>;
  /** Aborts when the mirror stops. */
  readonly signal: AbortSignal;
}

/** Clients come first: at the start they have the upstreams to themselves for a moment. */
const RESUMED_AFTER_MS = 1000;
const RESUMED_AT_ONCE = 2;
const TRIMMED_MS = 60 * 60_000;

export class Leftovers {
  readonly #parts: LeftoversParts;
  #running: Promise<unknown> = Promise.resolve();

  constructor(parts: LeftoversParts) {
    this.#parts = parts;
  }

  start(): void {
    this.#running = Promise.all([this.#work(() => this.#tidy()), this.#work(() => this.#trim())]);
  }

  /** Once the signal has aborted: resolves when nothing runs any more. */
  async stop(): Promise<void> {
    await this.#running;
  }

  async #work(work: () => Promise<void>): Promise<void> {
    try {
      await work();
    } catch (cause) {
      if (this.#parts.signal.aborted) return;
      this.#parts.notices.emit("backgroundFailed", { what: "looking after partial files", cause });
    }
  }

  async #tidy(): Promise<void> {
    const { keeping, clock, signal, isOnline } = this.#parts;
    await this.#sweep();
    if (!isOnline) return;
    const near = keeping.list().filter(({ prefixBytes, sizeBytes }) => planKept(prefixBytes, sizeBytes) === "resume");
    if (near.length === 0) return;
    await pause(clock, RESUMED_AFTER_MS, signal);
    const next = near.values();
    // Each takes the next one from the same list.
    await Promise.all(
      Array.from({ length: RESUMED_AT_ONCE }, async () => {
        for (const partial of next) await this.#resume(partial);
      }),
    );
  }

  /** Files without a note, and notes without a file, without an upstream, or of nothing that counts. */
  async #sweep(): Promise<void> {
    const { store, keeping, signal, findRoute } = this.#parts;
    // What is suspended meanwhile is not among the files.
    const before = keeping.list();
    const files = new Set(await store.partials());
    for (const partial of before) {
      if (!keeping.has(partial.digest)) continue;
      const isUseful = files.has(partial.file) && partial.prefixBytes >= KEPT_FROM_BYTES;
      if (!isUseful || findRoute(partial) === undefined) await keeping.remove(partial.digest);
    }
    const known = new Set(keeping.list().map(({ file }) => file));
    for (const file of files) {
      if (signal.aborted) return;
      if (!known.has(file)) await store.removePartial(file);
    }
    await keeping.trim();
  }

  async #resume(partial: KeptPartial): Promise<void> {
    const { keeping, fills, signal, findRoute } = this.#parts;
    const route = findRoute(partial);
    // Somebody may have asked for it meanwhile.
    if (signal.aborted || route === undefined || !keeping.has(partial.digest)) return;
    try {
      await fills.resume(route, partial.digest, partial.sizeBytes);
    } catch (error) {
      // Too much is going on: it is kept, and fetched when it is asked for.
      if (!isFailure(error, "overloaded")) throw error;
    }
  }

  async #trim(): Promise<void> {
    const { keeping, clock, signal } = this.#parts;
    for (;;) {
      await pause(clock, TRIMMED_MS, signal);
      await keeping.trim();
    }
  }
}
