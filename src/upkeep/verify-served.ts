/**
 * Checks behind serving: what is served and was not read through for a month is read now, while its pages are warm.
 *
 * One at a time and slowly, a few hundred waiting at most: what finds no place comes again with its next use, and the
 * scrub reads everything anyway.
 */
import { LRUCache } from "lru-cache";
import type { Verified } from "../meta/verified.ts";
import type { Digest } from "../oci/digest.ts";
import { ScrubPace } from "./scrub-pace.ts";
import type { Verifier } from "./verify.ts";
import { judgeBlob, type VerdictParts } from "./verify-verdict.ts";

const DUE_AFTER_MS = 30 * 24 * 60 * 60_000;
/** A check that was written down by a clock ahead of ours says nothing. */
const AHEAD_MS = 24 * 60 * 60_000;
const MAX_WAITING = 256;
/** What is not due now may be later. */
const KNOWN_MS = 60 * 60_000;
/** Of those that were used in the last few seconds, so many are looked up. */
const MAX_LOOKUPS = 500;
const MOST_BYTES_PER_SECOND = 32 * 1024 * 1024;

export interface ServedParts extends VerdictParts {
  readonly verified: Pick<Verified, "find" | "put">;
  readonly verifier: Pick<Verifier, "look">;
  /** Bytes per second that a scrub may read; null = any. */
  readonly bandwidth: number | null;
  /** Aborts when the mirror stops. */
  readonly signal: AbortSignal;
}

export class ServedChecks {
  readonly #parts: ServedParts;
  readonly #waiting = new Set<Digest>();
  /** What was looked up a while ago, and need not be again. */
  readonly #known = new LRUCache<Digest, true>({ max: 20_000, ttl: KNOWN_MS });
  #running: Promise<void> | undefined;

  constructor(parts: ServedParts) {
    this.#parts = parts;
  }

  /** So many wait for their check, the one that is being read included. */
  get waiting(): number {
    return this.#waiting.size;
  }

  /** These were served in the last few seconds. */
  used(digests: readonly Digest[]): void {
    const { verified, clock, signal } = this.#parts;
    if (signal.aborted) return;
    const now = clock.now();
    let lookups = 0;
    for (const digest of digests) {
      if (this.#waiting.size >= MAX_WAITING || lookups >= MAX_LOOKUPS) break;
      if (this.#waiting.has(digest) || this.#known.has(digest)) continue;
      lookups += 1;
      const row = verified.find(digest);
      if (row !== undefined && isDue(row.verifiedAt, now)) this.#waiting.add(digest);
      else this.#known.set(digest, true);
    }
    if (this.#waiting.size > 0) this.#running ??= this.#work().finally(() => this.#end());
  }

  /** After the signal aborted: resolves when nothing is read any more. */
  async stop(): Promise<void> {
    await this.#running;
  }

  async #work(): Promise<void> {
    const { store, verifier, verified, clock, bandwidth, signal, notices } = this.#parts;
    const pace = new ScrubPace(clock, Math.min(bandwidth ?? MOST_BYTES_PER_SECOND, MOST_BYTES_PER_SECOND));
    for (const digest of this.#waiting) {
      try {
        const finding = await verifier.look(store.pathOf(digest), digest, { pace, signal });
        const verdict = await judgeBlob(this.#parts, digest, finding, "check");
        if (verdict.is === "good" || verdict.is === "adopted") verified.put([digest], clock.now());
      } catch (cause) {
        if (signal.aborted) return;
        notices.emit("backgroundFailed", { what: "the check of a blob that was served", cause });
      }
      this.#known.set(digest, true);
      this.#waiting.delete(digest);
    }
  }

  #end(): void {
    this.#running = undefined;
  }
}

/** Pure: whether it is time to read it again. */
export function isDue(verifiedAt: number, now: number): boolean {
  return now - verifiedAt > DUE_AFTER_MS || verifiedAt - now > AHEAD_MS;
}
