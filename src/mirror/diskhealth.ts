/**
 * Whether the disk can be relied on: one incident from the first failure to the proof that it is over, told once at its
 * beginning and once at its end, however many pulls meet it.
 *
 * While it rests nothing is written, and pulls go on uncached. After each rest a probe, or the next thing to be stored,
 * shows whether it works again; a failure soon after is still the same incident, and the rest after it is longer.
 */
import type { Clock } from "../base/clock.ts";
import type { Emitter, Notices } from "../base/notices.ts";
import { diskFaultOf, findDiskFault } from "./diskfaults.ts";
import type { MirrorNotices } from "./notices.ts";

/** Each rest is twice as long as the one before. */
const FIRST_REST_MS = 5000;
const LONGEST_REST_MS = 60_000;
/** Directories that are gone are made again by the probe. */
const MENDING_REST_MS = 250;
/** So long after a good probe nothing may fail. */
const PROBATION_MS = 10_000;

export interface DiskHealthParts {
  readonly clock: Clock;
  readonly notices: Emitter<MirrorNotices>;
  /** Writes something small as blobs are written, and removes it; makes directories that are gone. */
  probe(): Promise<void>;
}

/** What those who meet the disk's failures need of it. */
export type DiskReports = Pick<DiskHealth, "isResting" | "failed" | "worked">;

export interface Degraded {
  /** Epoch milliseconds. */
  readonly since: number;
  readonly errno: string;
  readonly why: string;
  readonly advice: string;
}

interface Incident extends Degraded {
  readonly failures: number;
  /** The next rest. */
  readonly restMs: number;
  /** Things may be written again, on trial. */
  readonly onTrial: boolean;
}

export class DiskHealth {
  readonly #parts: DiskHealthParts;
  #incident: Incident | undefined;
  #cancel: () => void = () => {};
  #probing: Promise<void> | undefined;
  #stopped = false;

  constructor(parts: DiskHealthParts) {
    this.#parts = parts;
  }

  /** What is wrong, from the first failure until the end of the trial; undefined where all is well. */
  get degraded(): Degraded | undefined {
    return this.#incident;
  }

  /** Nothing should be written now. */
  get isResting(): boolean {
    return this.#incident !== undefined && !this.#incident.onTrial;
  }

  /**
   * Learns of failures and of successes that others make known.
   * @returns the function that ends the subscriptions.
   */
  observe(notices: Notices<MirrorNotices>): () => void {
    const ends = [
      notices.on("storageTrouble", ({ cause }) => {
        if (findDiskFault(cause) !== undefined) this.failed(cause);
      }),
      notices.on("fillEnded", ({ bytes, failure }) => {
        if (failure === undefined && bytes > 0) this.worked();
      }),
    ];
    return () => {
      for (const end of ends) end();
    };
  }

  /** The disk or the index failed somebody. */
  failed(cause: unknown): void {
    const { clock, notices } = this.#parts;
    const fault = diskFaultOf(cause);
    notices.emit("storageFailed", { errno: fault.errno });
    const known = this.#incident;
    if (known === undefined) {
      this.#incident = { ...fault, since: clock.now(), failures: 1, restMs: FIRST_REST_MS, onTrial: false };
      notices.emit("storageDegraded", { ...fault, cause });
      this.#rest(fault.errno === "ENOENT" ? MENDING_REST_MS : FIRST_REST_MS);
      return;
    }
    const failures = known.failures + 1;
    if (!known.onTrial) {
      this.#incident = { ...known, failures };
      return;
    }
    this.#incident = { ...known, ...fault, failures, onTrial: false };
    this.#rest(known.restMs);
  }

  /** Something was stored. */
  worked(): void {
    if (this.#incident?.onTrial === true) this.#heal();
  }

  /** Nothing of it runs when this resolves. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#cancel();
    await this.#probing;
  }

  #rest(restMs: number): void {
    if (this.#stopped) return;
    if (this.#incident !== undefined) {
      this.#incident = { ...this.#incident, restMs: Math.min(Math.max(restMs * 2, FIRST_REST_MS), LONGEST_REST_MS) };
    }
    this.#cancel();
    this.#cancel = this.#parts.clock.after(restMs, () => {
      this.#probing = this.#probe().finally(() => {
        this.#probing = undefined;
      });
    });
  }

  async #probe(): Promise<void> {
    const { clock, notices, probe } = this.#parts;
    try {
      await probe();
    } catch (cause) {
      // Whatever it is: what cannot be probed cannot be written.
      notices.emit("storageFailed", { errno: diskFaultOf(cause).errno });
      const known = this.#incident;
      if (known === undefined) return;
      this.#incident = { ...known, ...diskFaultOf(cause), failures: known.failures + 1 };
      this.#rest(known.restMs);
      return;
    }
    if (this.#stopped || this.#incident === undefined) return;
    this.#incident = { ...this.#incident, onTrial: true };
    this.#cancel = clock.after(PROBATION_MS, () => this.worked());
  }

  #heal(): void {
    const incident = this.#incident;
    if (incident === undefined) return;
    this.#cancel();
    this.#incident = undefined;
    const { clock, notices } = this.#parts;
    const durationMs = Math.max(0, clock.now() - incident.since);
    notices.emit("storageHealed", { durationMs, failures: incident.failures, errno: incident.errno });
  }
}
