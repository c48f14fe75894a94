/**
 * All running fills: one for each digest, however many clients ask and whenever they come.
 *
 * A client holds a ticket. The fill goes on when tickets are released; what happens to one nobody waits for any more
 * is policy (`planAbandoned`), not a matter of sockets.
 */
import { Failure } from "../base/failure.ts";
import type { Digest } from "../oci/digest.ts";
import { Fill } from "./fill.ts";
import { Pace } from "./pace.ts";
import type { Route } from "./route.ts";
import type { FillParts, Ticket } from "./ticket.ts";

/** How many fills may run at once; more would only make each of them slower, and hold a file and two sockets each. */
const MAX_FILLS = 512;

export class Fills {
  readonly #parts: FillParts;
  readonly #running = new Map<Digest, Fill>();
  /** Everything that has not ended, what is cleaning up after a failure included. */
  readonly #unended = new Set<Fill>();
  /** How many fills of each have ended that somebody still reads the files of. */
  readonly #read = new Map<Digest, number>();
  /** By upstream. */
  readonly #paces = new Map<string, Pace>();
  #stopped = false;

  constructor(parts: FillParts) {
    this.#parts = parts;
  }

  get active(): number {
    return this.#running.size;
  }

  find(digest: Digest): Fill | undefined {
    return this.#running.get(digest);
  }

  /** Whether one runs, or somebody still reads the file that one has written. */
  isHeld(digest: Digest): boolean {
    return this.#running.has(digest) || this.#read.has(digest);
  }

  /** @throws Failure `overloaded`. */
  join(route: Route, digest: Digest, sizeHint: number | undefined): Ticket {
    const running = this.#running.get(digest);
    if (running !== undefined) return running.join(true);
    if (this.#stopped) throw new Failure("overloaded", "the mirror is shutting down", { retryAfterMs: 5000 });
    if (this.#running.size >= MAX_FILLS) {
      throw new Failure("overloaded", `${MAX_FILLS} downloads from upstreams are running`, { retryAfterMs: 2000 });
    }
    const predecessor = [...this.#unended].findLast((fill) => fill.digest === digest)?.ended;
    const surroundings = { ...this.#parts, pace: this.#paceOf(route.upstream), predecessor };
    const fill = new Fill(surroundings, route, digest, sizeHint);
    this.#running.set(digest, fill);
    const ticket = fill.join(false);
    this.#unended.add(fill);
    void fill
      .run(() => this.#forget(digest, fill))
      .finally(() => {
        this.#unended.delete(fill);
        this.#readOn(fill);
        if (fill.wasMisled && !this.#stopped) this.#again(route, digest, sizeHint);
      });
    return ticket;
  }

  /** Fetches, for nobody in particular, what something is kept of. Resolves when that has ended, one way or the other. */
  async resume(route: Route, digest: Digest, sizeBytes: number): Promise<void> {
    this.join(route, digest, sizeBytes).release();
    await this.#running.get(digest)?.ended;
  }

  /** What was kept of it was wrong: whoever was served from it comes again, and should find it fetched anew. */
  #again(route: Route, digest: Digest, sizeHint: number | undefined): void {
    try {
      this.join(route, digest, sizeHint).release();
    } catch {
      // There are too many already; whoever wants it asks.
    }
  }

  /** Ends all fills; when this resolves, nothing of them is left on disk but what is kept. */
  async stop(): Promise<void> {
    this.#stopped = true;
    const reason = new Failure("overloaded", "the mirror is shutting down");
    await Promise.all([...this.#unended].map((fill) => fill.stop(reason)));
  }

  #readOn(fill: Fill): void {
    const { digest } = fill;
    this.#read.set(digest, (this.#read.get(digest) ?? 0) + 1);
    fill.onceLeft(() => {
      const left = (this.#read.get(digest) ?? 1) - 1;
      if (left > 0) this.#read.set(digest, left);
      else this.#read.delete(digest);
    });
  }

  #paceOf(upstream: string): Pace {
    const known = this.#paces.get(upstream);
    if (known !== undefined) return known;
    const pace = new Pace();
    this.#paces.set(upstream, pace);
    return pace;
  }

  #forget(digest: Digest, fill: Fill): void {
    if (this.#running.get(digest) === fill) this.#running.delete(digest);
  }
}
