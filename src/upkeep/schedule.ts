/**
 * One job that is done by itself whenever its cron expression comes due.
 *
 * It never overlaps itself: what comes due meanwhile is not made up for. No wait is longer than a minute, and the clock
 * is looked at anew after each, because clocks jump: a job whose time was passed over is done late, and one whose time
 * comes a second time, or soon after it was done late, is not done twice.
 */
import type { Clock } from "../base/clock.ts";
import type { Emitter } from "../base/notices.ts";
import { type CronText, nextAfter } from "../config/cron.ts";
import type { MirrorNotices } from "../mirror/notices.ts";

/** A clock that was set, or a machine that slept, is noticed no later than this. */
const LONGEST_WAIT_MS = 60_000;

export interface Job {
  /** What it does, for observers: "the scheduled scrub". */
  readonly name: string;
  /** Null = it is never done by itself. */
  readonly cron: CronText | null;
  /** When it was last begun, by an earlier process: what came due since is made up for, once. Epoch milliseconds. */
  readonly lastRunAt?: number | undefined;
  /** Ends soon after the signal aborts. What it throws otherwise is told to observers. */
  run(signal: AbortSignal): Promise<void>;
}

export interface ScheduleParts {
  readonly clock: Clock;
  readonly notices: Emitter<MirrorNotices>;
}

export class Schedule {
  readonly #job: Job;
  readonly #parts: ScheduleParts;
  readonly #stopping = new AbortController();
  #nextAt: number | undefined;
  /** When it was last begun, by the clock of then. */
  #ranAt: number | undefined;
  #running: Promise<void> | undefined;
  #cancel = () => {};

  constructor(job: Job, parts: ScheduleParts) {
    this.#job = job;
    this.#parts = parts;
  }

  /** When it comes due, epoch milliseconds; undefined for never, and before it was started. */
  get nextAt(): number | undefined {
    return this.#nextAt;
  }

  get isRunning(): boolean {
    return this.#running !== undefined;
  }

  start(): void {
    const now = this.#parts.clock.now();
    // A time to come is one that a wrong clock wrote down.
    const { lastRunAt } = this.#job;
    this.#ranAt = lastRunAt !== undefined && lastRunAt <= now ? lastRunAt : undefined;
    this.#nextAt = this.#after(this.#ranAt ?? now);
    this.#wait();
  }

  /** Aborts a run, and resolves when it has ended. */
  async stop(): Promise<void> {
    this.#stopping.abort(new Error("the schedule was stopped"));
    this.#cancel();
    this.#nextAt = undefined;
    await this.#running;
  }

  #wait(): void {
    if (this.#nextAt === undefined || this.#stopping.signal.aborted) return;
    const delayMs = Math.max(0, this.#nextAt - this.#parts.clock.now());
    this.#cancel = this.#parts.clock.after(Math.min(delayMs, LONGEST_WAIT_MS), () => this.#look());
  }

  #look(): void {
    const now = this.#parts.clock.now();
    this.#nextAt = this.#judge(now);
    if (this.#nextAt === undefined || now < this.#nextAt) {
      this.#wait();
      return;
    }
    const isLate = now - this.#nextAt > LONGEST_WAIT_MS;
    this.#ranAt = now;
    this.#running = this.#run().finally(() => {
      this.#running = undefined;
      const next = this.#after(this.#parts.clock.now());
      this.#nextAt = isLate && next !== undefined ? this.#afterLateRun(now, next) : next;
      this.#wait();
    });
  }

  /** When it is due by what the clock says now. */
  #judge(now: number): number | undefined {
    const due = this.#nextAt;
    const first = this.#after(now);
    if (due === undefined || first === undefined) return undefined;
    if (now >= due) {
      // The clock was set on, back and on again: this stretch of time has had its run.
      const again = this.#ranAt !== undefined && this.#ranAt <= now && (this.#after(this.#ranAt) ?? now) > now;
      return again ? first : due;
    }
    if (first >= due) return due;
    // The clock was set back behind a time that came already: the first one to come has had its run, if there was any.
    return this.#ranAt === undefined ? first : Math.min(due, this.#after(first) ?? due);
  }

  /** What was done late is not done again at once, because its next time comes soon. */
  #afterLateRun(ranAt: number, next: number): number {
    const following = this.#after(next);
    return following !== undefined && next - ranAt < (following - next) / 2 ? following : next;
  }

  #after(ms: number): number | undefined {
    return this.#job.cron === null ? undefined : nextAfter(this.#job.cron, ms);
  }

  async #run(): Promise<void> {
    const { signal } = this.#stopping;
    try {
      await this.#job.run(signal);
    } catch (cause) {
      if (!signal.aborted) this.#parts.notices.emit("backgroundFailed", { what: this.#job.name, cause });
    }
  }
}
