/**
 * A scrub: every stored blob is read, at a bounded speed, and what is not what its digest says leaves the store.
 *
 * One at a time. It goes in the order of digests and writes down how far it has come, so that whoever stops it, or
 * kills the process, costs no more than a few seconds of it.
 */
import type { Clock } from "../base/clock.ts";
import { Failure, messageOf } from "../base/failure.ts";
import { isDatabaseError } from "../meta/database.ts";
import type { Verified } from "../meta/verified.ts";
import type { DamageFact, ScrubCounts, ScrubFact } from "../mirror/damage.ts";
import type { Digest } from "../oci/digest.ts";
import { ScrubPace } from "./scrub-pace.ts";
import { walkBlobs } from "./scrub-walk.ts";
import type { Verifier } from "./verify.ts";
import { judgeBlob, type Verdict, type VerdictParts } from "./verify-verdict.ts";

export interface ScrubParts extends Omit<VerdictParts, "inventory"> {
  readonly verified: Pick<Verified, "find" | "put" | "findScrub" | "started" | "ended" | "digestsBetween">;
  readonly inventory: VerdictParts["inventory"] & { readonly blobs: number; readonly bytes: number };
  readonly verifier: Pick<Verifier, "look">;
}

export interface ScrubOptions {
  /** Bytes per second; null = as fast as it goes. */
  readonly bandwidth: number | null;
  readonly signal: AbortSignal;
  /** Begins anew where an earlier one was stopped half way. */
  readonly restart?: boolean;
  /** Nothing but these: it counts as no reading of everything, and is not resumed. */
  readonly only?: readonly Digest[] | undefined;
}

/** How far a running scrub has come. The total may change while it runs. */
export interface ScrubProgress extends ScrubCounts {
  readonly totalBlobs: number;
  readonly totalBytes: number;
}

export interface ScrubReport extends ScrubFact {
  /** What was found damaged since it was begun or resumed, the first hundred. */
  readonly damage: readonly DamageFact[];
}

type Counts = { -readonly [K in keyof ScrubCounts]: number };

const NONE: ScrubCounts = {
  blobs: 0,
  bytes: 0,
  damaged: 0,
  damagedBytes: 0,
  missing: 0,
  adopted: 0,
  adoptedBytes: 0,
  strays: 0,
  unchecked: 0,
};
const WRITTEN_EVERY_BLOBS = 200;
const WRITTEN_EVERY_MS = 5000;
const MAX_LISTED = 100;
/** So many one after another are not single files that have rotted. */
const MAX_IN_A_ROW = 20;

interface Running {
  readonly work: Work;
  readonly report: Promise<ScrubReport>;
}

export class Scrub {
  readonly #parts: ScrubParts;
  #running: Running | undefined;

  constructor(parts: ScrubParts) {
    this.#parts = parts;
  }

  /** Undefined where none runs. */
  get progress(): ScrubProgress | undefined {
    return this.#running?.work.progress;
  }

  /** The end of the one that runs; undefined where none does. */
  get report(): Promise<ScrubReport> | undefined {
    return this.#running?.report;
  }

  /** Whether one was stopped half way. */
  get isUnfinished(): boolean {
    return this.#running === undefined && this.#parts.verified.findScrub() !== undefined;
  }

  /**
   * Reads everything, or what an earlier one has left.
   * @throws the signal's reason; Failure `overloaded` where one runs already, `storage` where the index cannot be written.
   */
  async run(options: ScrubOptions): Promise<ScrubReport> {
    if (this.#running !== undefined) throw new Failure("overloaded", "a scrub is already running");
    const work = new Work(this.#parts, options);
    const report = work.run().catch((cause: unknown) => {
      if (!isDatabaseError(cause)) throw cause;
      throw new Failure("storage", `the index cannot be written: ${messageOf(cause)}`, { cause });
    });
    this.#running = { work, report };
    try {
      return await report;
    } finally {
      this.#running = undefined;
    }
  }
}

class Work {
  readonly #parts: ScrubParts;
  readonly #options: ScrubOptions;
  readonly #counts: Counts;
  readonly #resumed: boolean;
  readonly #startedAt: number;
  readonly #clock: Clock;
  readonly #damage: DamageFact[] = [];
  /** Read and found good, and not yet written down. */
  #good: Digest[] = [];
  #after: string;
  #unwritten = 0;
  #damagedInARow = 0;
  #writtenAt: number;
  /** Of the blob that is being read. */
  #partBytes = 0;
  /** Of some blobs, what they are altogether. */
  readonly #some: { readonly blobs: number; readonly bytes: number } | undefined;

  constructor(parts: ScrubParts, options: ScrubOptions) {
    this.#parts = parts;
    this.#options = options;
    this.#clock = parts.clock;
    const isNew = options.restart === true || options.only !== undefined;
    const state = isNew ? undefined : parts.verified.findScrub();
    this.#resumed = state !== undefined;
    this.#startedAt = state?.startedAt ?? this.#clock.now();
    this.#after = state?.after ?? "";
    this.#counts = { ...NONE, ...state?.counts };
    this.#writtenAt = this.#clock.now();
    const sizes = options.only?.map((digest) => parts.inventory.findSize(digest) ?? 0);
    this.#some = sizes && { blobs: sizes.length, bytes: sizes.reduce((sum, bytes) => sum + bytes, 0) };
  }

  get #total(): { readonly blobs: number; readonly bytes: number } {
    return this.#some ?? this.#parts.inventory;
  }

  get progress(): ScrubProgress {
    const { blobs, bytes } = this.#total;
    const read = this.#counts.bytes + this.#partBytes;
    const totals = { totalBlobs: Math.max(blobs, this.#counts.blobs), totalBytes: Math.max(bytes, read) };
    return { ...this.#counts, bytes: read, ...totals };
  }

  async run(): Promise<ScrubReport> {
    const { verified, notices } = this.#parts;
    const isWhole = this.#options.only === undefined;
    if (isWhole) verified.started(this.#clock.now());
    try {
      await this.#walk();
    } catch (error) {
      // Where this fails too, what was read since is read again.
      if (!isDatabaseError(error)) this.#write();
      throw error;
    }
    this.#write();
    const endedAt = this.#clock.now();
    if (isWhole) verified.ended(endedAt);
    const fact = { ...this.#counts, startedAt: this.#startedAt, endedAt, resumed: this.#resumed };
    if (isWhole) notices.emit("scrubEnded", fact);
    return { ...fact, damage: this.#damage };
  }

  #everything(): AsyncGenerator<Digest> {
    const { store, verified, notices } = this.#parts;
    return walkBlobs(
      {
        store,
        verified,
        onStray: () => {
          this.#counts.strays += 1;
        },
        onUnreadable: (message) => {
          this.#counts.unchecked += 1;
          notices.emit("storageTrouble", { message: "a directory of blobs cannot be read", cause: new Error(message) });
        },
      },
      this.#after,
    );
  }

  async #walk(): Promise<void> {
    const pace = new ScrubPace(this.#clock, this.#options.bandwidth);
    for await (const digest of this.#options.only ?? this.#everything()) {
      this.#options.signal.throwIfAborted();
      await this.#look(digest, pace);
      this.#after = digest;
      this.#unwritten += 1;
      this.#judgeRow();
      const now = this.#clock.now();
      const isTime = now - this.#writtenAt >= WRITTEN_EVERY_MS || now < this.#writtenAt;
      if (this.#unwritten >= WRITTEN_EVERY_BLOBS || isTime) this.#write();
    }
  }

  /** Then somebody should look at the disk before more is thrown away, which can perhaps still be read. */
  #judgeRow(): void {
    if (this.#damagedInARow < MAX_IN_A_ROW || this.#options.only !== undefined) return;
    const what = `${MAX_IN_A_ROW} blobs in a row are damaged: the scrub stops before it condemns more`;
    throw new Failure("storage", `${what}. Look at the disk, and begin it again to go on from here`);
  }

  async #look(digest: Digest, pace: ScrubPace): Promise<void> {
    const { store, verifier } = this.#parts;
    const { signal } = this.#options;
    this.#partBytes = 0;
    try {
      const finding = await verifier.look(store.pathOf(digest), digest, {
        pace,
        signal,
        onRead: (bytes) => {
          this.#partBytes += bytes;
        },
      });
      const verdict = await judgeBlob(this.#parts, digest, finding, "scrub");
      this.#counts.blobs += verdict.is === "gone" || verdict.is === "missing" ? 0 : 1;
      this.#counts.bytes += this.#partBytes;
      this.#count(digest, verdict);
    } finally {
      this.#partBytes = 0;
    }
  }

  #count(digest: Digest, verdict: Verdict): void {
    const counts = this.#counts;
    if (verdict.is === "damaged") this.#damagedInARow += 1;
    if (verdict.is === "good" || verdict.is === "adopted") {
      this.#damagedInARow = 0;
      this.#good.push(digest);
    }
    if (verdict.is === "adopted") {
      counts.adopted += 1;
      counts.adoptedBytes += verdict.sizeBytes;
    } else if (verdict.is === "missing") counts.missing += 1;
    else if (verdict.is === "unchecked") counts.unchecked += 1;
    else if (verdict.is === "damaged") {
      counts.damaged += 1;
      counts.damagedBytes += verdict.fact.sizeBytes ?? 0;
      if (this.#damage.length < MAX_LISTED) this.#damage.push(verdict.fact);
    }
  }

  #write(): void {
    const state = { startedAt: this.#startedAt, after: this.#after, counts: { ...this.#counts } };
    this.#parts.verified.put(this.#good, this.#clock.now(), this.#options.only === undefined ? state : undefined);
    this.#good = [];
    this.#unwritten = 0;
    this.#writtenAt = this.#clock.now();
  }
}
